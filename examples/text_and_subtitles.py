#!/usr/bin/env python3
"""Writes the text of every recording that Hark has recognized into a folder, and subtitles where the times are known.

    pip install nats-py
    python3 text_and_subtitles.py --into /srv/text

call.wav becomes call.wav.<end of its job's id>.txt and .srt. The program may be stopped and started at any time: the server remembers,
under the consumer's name, which events have been acknowledged, and an event that is delivered twice writes the same files again. A new
name (--durable) begins with the oldest event that the stream still has.
"""

import argparse
import asyncio
import json
import os
import pathlib
import sys

import nats
import nats.errors
import nats.js.errors


async def follow(options):
    # -1: wait for a broker that is away without a limit.
    client = await nats.connect(options.server, max_reconnect_attempts=-1, error_cb=complain)
    jetstream = client.jetstream()
    subject = f"{options.prefix}.event.transcript.final.>"
    finals = await jetstream.pull_subscribe(subject, durable=options.durable, stream=options.stream)
    while True:
        try:
            [message] = await finals.fetch(1, timeout=options.patience)
        except (nats.errors.TimeoutError, nats.errors.NoRespondersError, nats.js.errors.ServiceUnavailableError):
            if options.once:
                break
            continue
        final = json.loads(message.data)
        if place := final.get("segments_object"):
            # Segments that are too large for a message are in an object.
            objects = await jetstream.object_store(place["bucket"])
            final["segments"] = json.loads((await objects.get(place["name"])).data)
        write(options.into, final)
        # Acknowledge only after the files are written: an event without an acknowledgement is redelivered.
        await message.ack()
    await client.close()


async def complain(error):
    print(f"nats: {error}", file=sys.stderr)


def write(folder, final):
    # The sender chooses the name: remove folders and NUL, and cut it to a length that a file name may have.
    name = os.path.basename(final["recording"]["name"] or "").replace("\0", "") or "recording"
    name = name.encode(errors="replace")[:200].decode(errors="ignore")
    stem = f"{name}.{final['job'][-12:]}"
    put(folder / f"{stem}.txt", final["text"] + "\n")
    # Times are null if the engine did not measure them.
    pieces = final.get("segments") or []
    timed = [piece for piece in pieces if piece["begin_ms"] is not None and piece["end_ms"] is not None]
    if timed:
        put(folder / f"{stem}.srt", "\n".join(subtitle(number, piece) for number, piece in enumerate(timed, 1)))


def subtitle(number, piece):
    return f"{number}\n{clock(piece['begin_ms'])} --> {clock(piece['end_ms'])}\n{piece['text'].strip()}\n"


def clock(ms):
    return f"{ms // 3600000:02}:{ms // 60000 % 60:02}:{ms // 1000 % 60:02},{ms % 1000:03}"


def put(path, text):
    """Writes under another name first, so that a reader finds a whole file or none."""
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--into", type=pathlib.Path, required=True, metavar="FOLDER")
    parser.add_argument("--server", default="nats://127.0.0.1:4222")
    parser.add_argument("--prefix", default="hark", help="nats.subject_prefix of the daemon")
    parser.add_argument("--stream", default="HARK_EVENTS", help="nats.events_stream of the daemon")
    parser.add_argument("--durable", default="text_and_subtitles", help="consumer under which the server remembers what is done")
    parser.add_argument("--once", action="store_true", help="end when the stream has no more events")
    parser.add_argument("--patience", type=float, default=5, metavar="SECONDS", help="for one request")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        asyncio.run(follow(options()))
    except KeyboardInterrupt:
        pass
