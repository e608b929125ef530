"""Tests of helios_client.py against a real `helios serve`, and of the golden messages.

    HELIOS=target/debug/helios python3 scripts/client/test_helios_client.py
"""

import io
import json
import os
import pathlib
import subprocess
import tempfile
import threading
import unittest

import helios_client

HERE = pathlib.Path(__file__).resolve().parent
GOLDEN = HERE.parent.parent / "src/wire/golden/messages.jsonl"
HELIOS = os.environ.get("HELIOS", "helios")


class Golden(unittest.TestCase):
    """The bytes of every message are those that the other client writes and reads."""

    def test_messages(self):
        lines = GOLDEN.read_text(encoding="utf-8").splitlines()
        self.assertGreater(len(lines), 10)
        for line in lines:
            message = json.loads(line)
            raw, body = bytes.fromhex(message["bytes"]), bytes.fromhex(message["body"])
            head = message["head"].encode()
            fields = message["kind"], message["flags"], message["call"]
            self.assertEqual(helios_client.encode(fields[0], fields[2], head, body, fields[1]), raw, message["name"])
            stream = io.BytesIO(raw)
            kind, flags, call, got_head, got_body = helios_client.decode(stream.read)
            self.assertEqual(((kind, flags, call), got_head, got_body), (fields, head, body), message["name"])

    def test_a_changed_bit_is_refused(self):
        raw = bytearray(helios_client.encode(helios_client.CALL, 1, b'{"call":"ping"}'))
        for bit in list(range(32)) + list(range(96, len(raw) * 8)):
            changed = bytearray(raw)
            changed[bit // 8] ^= 1 << bit % 8
            with self.assertRaises(helios_client.Lost):
                helios_client.decode(io.BytesIO(changed).read)


class Served(unittest.TestCase):
    """A store of its own for each test, served."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.store = os.path.join(directory.name, "store.helios")
        self.helios("init", "--size", "512M", "-q")
        self.server = subprocess.Popen(
            [HELIOS, "serve", "--store", self.store], stdout=subprocess.PIPE, text=True
        )
        self.addCleanup(self.end)
        self.assertIn("serving", self.server.stdout.readline())

    def end(self):
        self.server.terminate()
        self.assertEqual(self.server.wait(timeout=60), 0)
        self.server.stdout.close()

    def helios(self, *arguments):
        done = subprocess.run([HELIOS, *arguments, "--store", self.store], capture_output=True, check=True)
        return done.stdout

    def connect(self):
        client = helios_client.connect(store=self.store)
        self.addCleanup(client.close)
        return client

    def test_files_of_a_branch(self):
        client = self.connect()
        client.ping()
        tree = client.open("main", create=True, author="a test")
        big = os.urandom(9 << 20)
        tree.write("a/b/big", big, parents=True)
        tree.write("text", b"one two\n", mode=0o755)
        tree.append("text", b"three\n")
        tree.patch("text", old="two", new="2")
        tree.symlink("link", "text")
        tree.write(b"odd \xff name", b"x")
        first = tree.commit("first")
        self.assertEqual(self.helios("cat", "main:text"), b"one 2\nthree\n")
        self.assertEqual(self.helios("cat", "main:a/b/big"), big)
        self.assertEqual(tree.read("a/b/big"), big)
        self.assertEqual(tree.read("a/b/big", 5 << 20, 10), big[5 << 20 : (5 << 20) + 10])
        self.assertEqual(tree.stat("text")["mode"], 0o755)
        names = [entry["name"] for entry in tree.list()]
        self.assertEqual(names, ["a", "link", {"hex": b"odd \xff name".hex()}, "text"])
        fork = client.open("main", fork="agent")
        fork.rename("a/b", "c")
        fork.remove("link")
        fork.truncate("text", 3)
        self.assertNotEqual(fork.commit("second", visible=True), first)
        self.assertEqual(fork.read("text"), b"one")
        self.assertEqual(tree.read("text"), b"one 2\nthree\n")
        fork.write("text", b"lost")
        copy = fork.fork("copy")
        self.assertEqual(copy.read("text"), b"lost")
        fork.reset()
        self.assertEqual(fork.read("text"), b"one")
        fork.close()
        with self.assertRaises(helios_client.Failure) as failed:
            fork.read("text")
        self.assertEqual(failed.exception.class_, "not_found")

    def test_conflicts_and_missing_files(self):
        client, other = self.connect(), self.connect()
        tree = client.open("main", create=True)
        tree.write("n", b"0")
        tree.commit()
        late = other.open("main")
        tree.write("n", b"1")
        tree.commit()
        late.write("n", b"2")
        with self.assertRaises(helios_client.Failure) as failed:
            late.commit()
        self.assertEqual(failed.exception.class_, "conflict")
        late.reset(to_head=True)
        self.assertEqual(late.read("n"), b"1")
        with self.assertRaises(helios_client.Failure) as failed:
            late.read("missing")
        self.assertEqual(failed.exception.class_, "not_found")
        with self.assertRaises(helios_client.Failure):
            client.open("nobody")

    def test_operations_of_the_command_line(self):
        client = self.connect()
        content = os.urandom(6 << 20)
        stored, _ = client.run({"operation": "put", "pin": False}, source=io.BytesIO(content))
        self.assertEqual(stored["reply"], "content")
        _, got = client.run({"operation": "get", "id": stored["id"]})
        self.assertEqual(got, content)
        info, _ = client.run({"operation": "info"})
        self.assertEqual(info["health"], "ok")
        with self.assertRaises(helios_client.Failure) as failed:
            client.run({"operation": "get", "id": "00" * 32})
        self.assertEqual(failed.exception.class_, "not_found")

    def test_agents_at_once(self):
        self.connect().open("main", create=True).commit("nothing yet")
        failures = []

        def work(number):
            try:
                with helios_client.connect(store=self.store) as client:
                    tree = client.open("main", fork=f"agent-{number}")
                    for step in range(10):
                        tree.write(f"file-{step}", f"{number} {step}".encode())
                        tree.commit(visible=step % 5 != 4)
            except Exception as error:  # noqa: BLE001: shown by the assertion below
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        for number in range(20):
            self.assertEqual(self.helios("cat", f"agent-{number}:file-9"), f"{number} 9".encode())

    def test_metrics(self):
        page, health = self.connect().observe()
        self.assertIn("helios_connections 1\n", page)
        self.assertEqual(health, {"live": True, "ready": True, "degraded": False, "reasons": []})

    def restart(self, kill):
        if kill:
            self.server.kill()
        else:
            self.server.terminate()
        self.server.wait(timeout=60)
        self.server.stdout.close()
        self.server = subprocess.Popen(
            [HELIOS, "serve", "--store", self.store], stdout=subprocess.PIPE, text=True
        )
        self.assertIn("serving", self.server.stdout.readline())

    def test_clients_outlive_restarts(self):
        over, failures = threading.Event(), []
        done = [0, 0]

        def count(number):
            """Counts on a branch of its own; what was acknowledged is never missing, and nothing is done twice."""
            while not over.is_set():
                try:
                    with helios_client.connect(store=self.store, patience=60) as client:
                        tree = client.open(f"b{number}", create=True)
                        try:
                            log = tree.read("log").split()
                        except helios_client.Failure as failure:
                            if failure.class_ != "not_found":
                                raise
                            log = []
                        if len(log) < done[number]:
                            failures.append(f"{len(log)} after {done[number]}")
                        done[number] = len(log)
                        while not over.is_set():
                            tree.append("log", b"%d\n" % done[number])
                            tree.commit(expect=tree.commit_id)
                            done[number] += 1
                except (helios_client.Failure, OSError) as error:
                    if helios_client.advice(error) == helios_client.GIVE_UP:
                        failures.append(error)
                        return
                except Exception as error:  # noqa: BLE001: shown by the assertion below
                    failures.append(error)
                    return

        threads = [threading.Thread(target=count, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for kill in (False, True, False):
            wanted = sum(done) + 10
            for _ in range(6000):
                if sum(done) >= wanted or failures:
                    break
                over.wait(0.01)
            self.restart(kill)
        over.set()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        for number in range(2):
            lines = self.helios("cat", f"b{number}:log").split()
            self.assertEqual(lines, [b"%d" % line for line in range(len(lines))])
            self.assertIn(len(lines), (done[number], done[number] + 1))

    def test_absence_is_no_refusal(self):
        with self.assertRaises(helios_client.Absent) as nobody:
            helios_client.connect(store=self.store + ".none", patience=0.02)
        self.assertEqual(helios_client.advice(nobody.exception), helios_client.RECONNECT)
        client = self.connect()
        with self.assertRaises(helios_client.Refused) as refused:
            client.call({"call": "fly"})
        self.assertEqual(helios_client.advice(refused.exception), helios_client.GIVE_UP)
        crowded = helios_client.refusal({"reason": "4096 clients are here already", "retry_after_ms": 500})
        self.assertEqual(helios_client.advice(crowded), helios_client.AGAIN)
        with self.assertRaises(helios_client.Failure) as missing:
            self.connect().open("missing")
        self.assertEqual(helios_client.advice(missing.exception), helios_client.GIVE_UP)

    def test_an_owner_that_dies_is_noticed(self):
        client = self.connect()
        self.server.kill()
        self.server.wait()
        with self.assertRaises((helios_client.Lost, OSError)):
            client.ping()
        with self.assertRaises((helios_client.Lost, OSError)):
            helios_client.connect(store=self.store)
        # What `end` expects of a server that ends well.
        self.server = subprocess.Popen(
            [HELIOS, "serve", "--store", self.store], stdout=subprocess.PIPE, text=True
        )
        self.assertIn("serving", self.server.stdout.readline())
        self.connect().ping()


if __name__ == "__main__":
    unittest.main()
