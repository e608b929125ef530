"""Drives agentfs-sdk for the comparison: reads commands from standard input, answers each with a line.

open PATH          opens a file system, made where there is none
fill COUNT         files follow; writes them without syncing, for setting up only
step COUNT         files follow; writes them as the SDK does, each in transactions of its own
close              closes it, with everything in the one database file

Each file that follows is a line "LENGTH PATH" and LENGTH bytes. Answers are "ok", or "failed" and why.
"""

import asyncio
import sys

from agentfs_sdk import AgentFS, AgentFSOptions


def files(count):
    for _ in range(count):
        length, path = sys.stdin.buffer.readline().decode().rstrip("\n").split(" ", 1)
        yield "/" + path, sys.stdin.buffer.read(int(length))


async def pragma(agent, text):
    cursor = await agent.get_database().execute("PRAGMA " + text)
    await cursor.fetchall()


async def main():
    agent = None
    for line in iter(sys.stdin.buffer.readline, b""):
        word, _, rest = line.decode().rstrip("\n").partition(" ")
        try:
            if word == "open":
                agent = await AgentFS.open(AgentFSOptions(path=rest))
            elif word == "close":
                await pragma(agent, "wal_checkpoint(TRUNCATE)")
                await agent.close()
            else:
                sent = list(files(int(rest)))
                if word == "fill":
                    await pragma(agent, "synchronous=OFF")
                for name, content in sent:
                    await agent.fs.write_file(name, content)
                if word == "fill":
                    await pragma(agent, "synchronous=FULL")
            answer = "ok"
        except Exception as error:
            answer = f"failed {type(error).__name__}: {error}".replace("\n", " ")
        print(answer, flush=True)


asyncio.run(main())
