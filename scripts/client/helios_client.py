"""A client of `helios serve` in plain Python: files of a branch without a directory.

    import helios_client

    with helios_client.connect(store="/data/store.helios") as helios:
        tree = helios.open("main", fork="agent-1")
        tree.write("notes/plan.md", b"1. measure\\n", parents=True)
        tree.patch("src/main.rs", old="fn main() {}", new="fn main() { run() }")
        print(tree.commit("first step"))

The protocol is described in engine/PROTOCOL.md. Only the standard library is used. One connection does one call at a
time; use several for more. Not safe for use by several threads at once.

A program that is to outlive restarts of the owner connects with `patience`, and asks each error what it advises:

    while True:
        try:
            with helios_client.connect(store=store, patience=60) as helios:
                work(helios)                    # looks first what of its work is done already
                break
        except (helios_client.Failure, OSError) as error:
            if helios_client.advice(error) == helios_client.GIVE_UP:
                raise
"""

import array
import json
import os
import socket
import struct
import time
import zlib

VERSIONS = [1]
HEADER = struct.Struct("<IIIHHQ")
HEAD_BYTES_MAX = 1 << 20
BODY_BYTES_MAX = 4 << 20

HELLO, WELCOME, CALL, INPUT, CANCEL, WANT = 1, 2, 3, 4, 5, 6
OUTPUT, PROGRESS, WARNING, REPLY, FAILURE, GOODBYE = 7, 8, 9, 10, 11, 12
MORE, END, PASSED = 1, 2, 4


class Failure(Exception):
    """A call has failed. `class_` is one of the classes of the protocol: `not_found`, `conflict`, `busy`, ..."""

    def __init__(self, value):
        super().__init__(value["message"])
        self.class_ = value["class"]
        self.hint = value.get("hint")
        self.retry_after_ms = value.get("retry_after_ms")


class Lost(ConnectionError):
    """The connection has ended; calls without an answer have an unknown outcome."""


class Absent(Lost):
    """Nobody serves the store."""


class Refused(Lost):
    """The owner has ended the connection, and says why: it does not let this process in, or makes no sense of it."""


class Odd(Lost):
    """The owner says what makes no sense here; it may be of another version."""


# What `advice` gives.
# Nothing was done; the same call may succeed on the same connection a little later (`retry_after_ms` says when).
AGAIN = "again"
# Connect again, with `patience`. A call without an answer may have been done or not: look first. What cannot be done twice (a
# commit with `expect`, a write of a whole file) may be asked for again without looking.
RECONNECT = "reconnect"
# Asking again would fail again.
GIVE_UP = "give up"


def refusal(goodbye):
    """What the last word of an owner means."""
    if goodbye.get("retry_after_ms") is None:
        return Refused(goodbye["reason"])
    return Failure({"class": "busy", "message": goodbye["reason"], "retry_after_ms": goodbye["retry_after_ms"]})


def advice(error):
    """Whether, and how, it is worth trying again after an error of this module."""
    if isinstance(error, Failure):
        return AGAIN if error.class_ == "busy" else GIVE_UP
    if isinstance(error, (Refused, Odd, TimeoutError)):
        return GIVE_UP
    return RECONNECT if isinstance(error, (ConnectionError, FileNotFoundError)) else GIVE_UP


def encode(kind, call, head=b"", body=b"", flags=0):
    """The bytes of a frame."""
    if len(head) > HEAD_BYTES_MAX or len(body) > BODY_BYTES_MAX:
        raise ValueError(f"a frame with {len(head)} bytes of head and {len(body)} of body")
    rest = HEADER.pack(0, len(head), len(body), kind, flags, call)[4:] + head + body
    return struct.pack("<I", zlib.crc32(rest)) + rest


def decode(receive, passed=None):
    """The next frame as (kind, flags, call, head, body).

    `receive(n)` gives exactly n bytes; `passed(n)` those of the memory that came with the frame.
    """
    header = receive(HEADER.size)
    checksum, head_length, body_length, kind, flags, call = HEADER.unpack(header)
    if head_length > HEAD_BYTES_MAX or body_length > BODY_BYTES_MAX:
        raise Odd(f"a frame announces {head_length} and {body_length} bytes")
    rest = receive(head_length + (0 if flags & PASSED else body_length))
    if zlib.crc32(rest, zlib.crc32(header[4:])) != checksum:
        raise Odd("a frame's checksum is wrong")
    head, body = rest[:head_length], rest[head_length:]
    if flags & PASSED:
        if passed is None:
            raise Odd("passed memory where none can come")
        body = passed(body_length)
        flags &= ~PASSED
    return kind, flags, call, head, body


def name(value):
    """A path or name as the protocol has it."""
    raw = os.fsencode(value)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return {"hex": raw.hex()}


def owner(store):
    """The socket of the process that owns the store in a file."""
    lock = os.path.realpath(store) + ".lock"
    try:
        with open(lock, encoding="utf-8") as file:
            for line in file:
                if line.startswith("socket "):
                    return line[len("socket ") :].rstrip("\n")
    except FileNotFoundError:
        pass
    raise Absent(f"nobody serves {store}; start `helios serve --store {store}`")


def connect(store=None, control=None, timeout=60.0, patience=0.0):
    """A connection to the owner of the store in a file, or to the one that listens at `control`.

    While nobody does, or whoever does is ending or has no place, attempts are repeated for `patience` seconds.
    """
    end = time.monotonic() + patience
    pause = 0.002
    while True:
        try:
            return Client(control or owner(store or os.environ["HELIOS_STORE"]), timeout)
        except (Failure, OSError) as error:
            left = end - time.monotonic()
            if advice(error) == GIVE_UP or left <= 0:
                raise
        time.sleep(min(pause, left))
        pause = min(2 * pause, 0.25)


class Client:
    """A connection to the owner of a store."""

    def __init__(self, path, timeout=60.0):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        self._descriptors = []
        self._number = 0
        try:
            self._socket.connect(path)
            hello = {"protocol": "helios", "versions": VERSIONS, "program": "helios_client.py"}
            try:
                self._socket.sendall(encode(HELLO, 0, json.dumps(hello).encode()))
            except BrokenPipeError:
                # An owner that does not let this process in may have closed already; its word is there all the same.
                pass
            kind, _, _, head, _ = self._receive()
            if kind == GOODBYE:
                raise refusal(json.loads(head))
            if kind != WELCOME:
                raise Odd(f"a frame of kind {kind} in place of a welcome")
            self.welcome = json.loads(head)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends the connection: what was not committed is dropped."""
        self._socket.close()
        while self._descriptors:
            os.close(self._descriptors.pop())

    def call(self, call, body=b"", source=None):
        """Makes a call; gives its reply, the bytes that came with it, and its number."""
        self._number += 1
        number = self._number
        head = json.dumps(call).encode()
        while len(head) > HEAD_BYTES_MAX:
            self._socket.sendall(encode(CALL, number, head[:HEAD_BYTES_MAX], flags=MORE))
            head = head[HEAD_BYTES_MAX:]
        self._socket.sendall(encode(CALL, number, head, body))
        output, answer = [], b""
        while True:
            kind, flags, of, head, body = self._receive()
            if kind == GOODBYE:
                raise refusal(json.loads(head))
            if of != number:
                raise Odd(f"an answer to call {of}, which was not made")
            if kind == OUTPUT:
                output.append(body)
            elif kind == WANT:
                most = min(json.loads(head)["bytes"], BODY_BYTES_MAX)
                piece = source.read(most) if source is not None else b""
                self._socket.sendall(encode(INPUT, number, b"", piece, 0 if piece else END))
            elif kind in (REPLY, FAILURE):
                answer += head
                if flags & MORE:
                    continue
                value = json.loads(answer)
                if kind == FAILURE:
                    raise Failure(value)
                return value, b"".join(output), number

    def run(self, request, source=None):
        """Carries out an operation of the command line; gives its reply, and the bytes of contents it reads."""
        value, output, _ = self.call({"call": "run", "request": request}, source=source)
        return value["result"], output

    def ping(self):
        """Asks whether the owner is there."""
        self.call({"call": "ping"})

    def observe(self):
        """The metrics of the owner, as text in the format of Prometheus, and how it is."""
        value, page, _ = self.call({"call": "observe"})
        return page.decode(), value["health"]

    def open(self, branch, fork=None, create=False, author="", expires_ns=None):
        """Opens a working tree on a branch, or on a new branch `fork` made there."""
        call = {"call": "open_files", "branch": name(branch), "create": create, "author": author}
        if fork is not None:
            call["fork"] = name(fork)
        if expires_ns is not None:
            call["expires_ns"] = expires_ns
        value, _, _ = self.call(call)
        return Tree(self, value["tree"], value["opened"])

    def _receive(self):
        return decode(self._exactly, self._passed)

    def _exactly(self, length):
        pieces = []
        while length:
            descriptors = array.array("i")
            space = socket.CMSG_SPACE(4 * descriptors.itemsize)
            piece, ancillary, _, _ = self._socket.recvmsg(min(length, 1 << 20), space, socket.MSG_CMSG_CLOEXEC)
            for level, kind, data in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
            self._descriptors.extend(descriptors)
            if not piece:
                raise Lost("the owner of the store is gone")
            pieces.append(piece)
            length -= len(piece)
        return b"".join(pieces)

    def _passed(self, length):
        if not self._descriptors:
            raise Odd("a frame announces passed memory, and none came")
        descriptor = self._descriptors.pop(0)
        try:
            bytes_ = os.pread(descriptor, length, 0)
        finally:
            os.close(descriptor)
        if len(bytes_) != length:
            raise Odd("passed memory is shorter than announced")
        return bytes_


class Tree:
    """An open working tree. Its changes are seen by nobody before `commit`."""

    def __init__(self, client, number, opened):
        self._client = client
        self.number = number
        self.branch = opened["branch"]
        self.commit_id = opened["commit"]

    def steps(self, steps, body=b""):
        """Carries out steps; gives their results and the bytes they read. Raises at the first that fails."""
        call = {"call": "files", "tree": self.number, "steps": steps}
        value, output, _ = self._client.call(call, body)
        if "failed" in value["results"]:
            raise Failure(value["results"]["failed"])
        return value["results"]["results"], output

    def _step(self, do, body=b"", **fields):
        results, output = self.steps([{"do": do, **fields}], body)
        return results[0], output

    def read(self, path, offset=0, length=None):
        """The bytes of a file, or a part of them."""
        fields = {"path": name(path), "offset": offset}
        if length is not None:
            fields["length"] = length
        return self._step("read", **fields)[1]

    def write(self, path, data, offset=None, parents=False, mode=None):
        """Writes a whole file, or a part of it at `offset`. Large ones go in several pieces."""
        first = data[:BODY_BYTES_MAX]
        fields = {"path": name(path), "bytes": len(first), "parents": parents}
        if offset is not None:
            fields["offset"] = offset
        if mode is not None:
            fields["mode"] = mode
        self._step("write", first, **fields)
        for at in range(BODY_BYTES_MAX, len(data), BODY_BYTES_MAX):
            piece = data[at : at + BODY_BYTES_MAX]
            self._step("write", piece, path=name(path), bytes=len(piece), offset=(offset or 0) + at)

    def append(self, path, data):
        """Writes behind the end of a file."""
        for at in range(0, len(data), BODY_BYTES_MAX):
            piece = data[at : at + BODY_BYTES_MAX]
            self._step("append", piece, path=name(path), bytes=len(piece))

    def truncate(self, path, size):
        """Cuts a file, or makes it longer with zeroes."""
        self._step("truncate", path=name(path), size=size)

    def patch(self, path, old, new, all=False):
        """Replaces a text that is there exactly once, or everywhere."""
        self._step("patch", path=name(path), replace=[{"old": name(old), "new": name(new), "all": all}])

    def rename(self, source, target):
        """Gives a file or directory another name."""
        self._step("rename", **{"from": name(source), "to": name(target)})

    def remove(self, path, missing_ok=False):
        """Removes a file, or a directory with everything in it."""
        self._step("remove", path=name(path), missing_ok=missing_ok)

    def mkdir(self, path, parents=False):
        """Makes a directory."""
        self._step("mkdir", path=name(path), parents=parents)

    def symlink(self, path, target):
        """Makes a symbolic link."""
        self._step("symlink", path=name(path), target=name(target))

    def stat(self, path=""):
        """What a path is."""
        return self._step("stat", path=name(path))[0]

    def list(self, path=""):
        """What is in a directory."""
        return self._step("list", path=name(path))[0]["entries"]

    def commit(self, message="", visible=False, expect=None):
        """Records the state on the branch; gives the id of its head. Durable, unless `visible` is enough.

        With `expect` it fails with class `conflict` unless this tree started from that commit: so it is never done twice.
        """
        fields = {"message": message, "durability": "visible" if visible else "durable"}
        if expect is not None:
            fields["expect"] = expect
        self.commit_id = self._step("commit", **fields)[0]["commit"]
        return self.commit_id

    def reset(self, to_head=False):
        """Drops every change since the last commit."""
        self._step("reset", to_head=to_head)

    def fork(self, branch):
        """A branch where this tree started, and a tree on it that begins with the changes of this one."""
        value, _, _ = self._client.call({"call": "fork_files", "tree": self.number, "branch": name(branch)})
        return Tree(self._client, value["tree"], value["opened"])

    def close(self):
        """Drops the tree, and what it has not committed."""
        self._client.call({"call": "close_files", "tree": self.number})
