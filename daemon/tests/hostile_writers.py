"""Writers that treat a watched folder as recorders, uploads, editors and people do.

    hostile_writers.py FOLDER OUTSIDE COUNT SETTLE SEED

FOLDER is watched, OUTSIDE is beside it on the same filesystem, SETTLE is in seconds. Each writer leaves one whole file in FOLDER, or
none, and prints a line of JSON:
{"manner": …, "name": … or null, "whole": sha256 of the last version or null, "earlier": [sha256 of versions that were unchanged for a while]}.
"""

import fcntl
import hashlib
import json
import mmap
import os
import random
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor

FOLDER, OUTSIDE = sys.argv[1], sys.argv[2]
COUNT, SETTLE, SEED = int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
AT_ONCE = 48


class Writer:
    def __init__(self, number):
        self.chance = random.Random(SEED * 1_000_003 + number)
        self.name = f"{number}.wav"
        self.path = os.path.join(FOLDER, self.name)
        self.outside = os.path.join(OUTSIDE, self.name)
        self.earlier = []

    def recording(self):
        samples = self.chance.randbytes(2 * self.chance.randint(4_000, 40_000))
        head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(samples), b"WAVE", b"fmt ", 16, 1, 1, 16_000, 32_000, 2, 16, b"data", len(samples))
        return head + samples

    def parts(self, recording):
        cuts = sorted(self.chance.randint(1, len(recording) - 1) for _ in range(3))
        return [recording[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(recording)])]

    def pause(self):
        """Waits with the file open. The daemon takes a read lease, so it waits for any open writer; without leases only `settle` protects."""
        time.sleep(self.chance.uniform(0, 2.5 * SETTLE if LEASES else SETTLE / 5))

    def stood_still(self, bytes_of_it):
        self.earlier.append(hashlib.sha256(bytes_of_it).hexdigest())

    def pauses_while_open(self):
        recording = self.recording()
        with open(self.path, "wb", buffering=0) as file:
            for part in self.parts(recording):
                file.write(part)
                self.pause()
        return recording

    def resumes(self):
        """An upload that breaks off and is resumed: closed between the parts, and whole only at the end."""
        recording, written, before = self.recording(), 0, None
        for part in self.parts(recording):
            if before is not None:
                time.sleep(self.chance.uniform(0, SETTLE / 4))
            # A busy machine may keep the writer from running anywhere here: the time counts from before a write to after the next one.
            begin = time.monotonic()
            with open(self.path, "ab", buffering=0) as file:
                file.write(part)
            if before is not None and time.monotonic() - before > SETTLE / 2:
                self.stood_still(recording[:written])
            before, written = begin, written + len(part)
        return recording

    def maps(self):
        """The descriptor is closed; only the memory mapping still writes."""
        recording = self.recording()
        with open(self.path, "w+b") as file:
            file.truncate(len(recording))
            mapped = mmap.mmap(file.fileno(), len(recording))
        position = 0
        for part in self.parts(recording):
            mapped[position : position + len(part)] = part
            position += len(part)
            self.pause()
        mapped.close()
        return recording

    def renames(self):
        recording = self.recording()
        part = os.path.join(FOLDER, self.name + self.chance.choice([".part", ".tmp", ".filepart", ".crdownload", "~"]))
        with open(part, "wb", buffering=0) as file:
            for piece in self.parts(recording):
                file.write(piece)
        time.sleep(self.chance.uniform(0, 2 * SETTLE))
        os.rename(part, self.path)
        return recording

    def links(self):
        recording = self.recording()
        with open(self.outside, "wb") as file:
            file.write(recording)
        os.link(self.outside, self.path)
        time.sleep(self.chance.uniform(0, SETTLE))
        os.unlink(self.outside)
        return recording

    def writes_through_a_link(self):
        recording = self.recording()
        parts = self.parts(recording)
        with open(self.outside, "wb", buffering=0) as file:
            file.write(parts[0])
            os.link(self.outside, self.path)
            for part in parts[1:]:
                self.pause()
                file.write(part)
        os.unlink(self.outside)
        return recording

    def replaces(self):
        first, second = self.recording(), self.recording()
        for recording in (first, second):
            with open(self.outside, "wb") as file:
                file.write(recording)
            os.rename(self.outside, self.path)
            if recording is first:
                self.stood_still(first)
                time.sleep(self.chance.uniform(0, 3 * SETTLE))
        return second

    def overwrites_in_place(self):
        first, second = self.recording(), self.recording()
        with open(self.outside, "wb") as file:
            file.write(first)
        os.rename(self.outside, self.path)
        self.stood_still(first)
        time.sleep(self.chance.uniform(0, 3 * SETTLE))
        with open(self.path, "r+b", buffering=0) as file:
            for part in self.parts(second):
                file.write(part)
                self.pause()
            file.truncate()
        return second

    def starts_anew(self):
        """Truncates the file to nothing and writes it again, as some recorders do at the end of a call."""
        first, second = self.recording(), self.recording()
        with open(self.path, "wb", buffering=0) as file:
            file.write(first[: len(first) // 2])
            self.pause()
            file.seek(0)
            file.truncate()
            for part in self.parts(second):
                file.write(part)
                self.pause()
        return second

    def moves_a_folder(self):
        recording = self.recording()
        os.mkdir(self.outside)
        with open(os.path.join(self.outside, "call.wav"), "wb") as file:
            file.write(recording)
        os.rename(self.outside, os.path.join(FOLDER, self.name + ".d"))
        self.name += ".d/call.wav"
        return recording

    def points_outside(self):
        with open(self.outside, "wb") as file:
            file.write(self.recording())
        os.symlink(self.outside, self.path)
        self.name = None

    def gives_up(self):
        """Removes the file before it was ever whole."""
        recording = self.recording()
        with open(self.path, "wb", buffering=0) as file:
            file.write(recording[: len(recording) // 2])
            self.pause()
            os.unlink(self.path)
        self.name = None


MANNERS = [
    Writer.pauses_while_open,
    Writer.resumes,
    Writer.maps,
    Writer.renames,
    Writer.links,
    Writer.writes_through_a_link,
    Writer.replaces,
    Writer.overwrites_in_place,
    Writer.starts_anew,
    Writer.moves_a_folder,
    Writer.points_outside,
    Writer.gives_up,
]


def leases_work():
    path = os.path.join(OUTSIDE, "lease")
    with open(path, "wb"):
        pass
    with open(path, "rb") as file:
        try:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError:
            return False
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return True


def write(number):
    writer, manner = Writer(number), MANNERS[number % len(MANNERS)]
    recording = manner(writer)
    whole = hashlib.sha256(recording).hexdigest() if recording else None
    return {"manner": manner.__name__, "name": writer.name, "whole": whole, "earlier": writer.earlier}


LEASES = leases_work()
with ThreadPoolExecutor(AT_ONCE) as writers:
    for line in writers.map(write, range(COUNT)):
        print(json.dumps(line), flush=True)
