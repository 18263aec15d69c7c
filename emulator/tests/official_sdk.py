"""The service's own SDK against the emulator. Run by official_sdk.rs, which passes one argument: a JSON object."""

import base64
import importlib
import io
import json
import os
import sys
import unittest
import urllib.request

case = json.loads(sys.argv.pop(1))

# The SDK reads these when it is imported; no proxy and no configuration of this machine may take effect.
os.environ["DASHSCOPE_HTTP_BASE_URL"] = case["api"]
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"

import dashscope  # noqa: E402
from dashscope.audio.asr import Transcription  # noqa: E402
from dashscope.audio.qwen_asr import QwenTranscription  # noqa: E402
from dashscope.common.error import UploadFileException  # noqa: E402
from dashscope.utils.oss_utils import OssUtils  # noqa: E402
from dashscope.v2.errors import (  # noqa: E402
    AuthenticationError,
    DashScopeError,
    PermissionDeniedError,
    RateLimitError,
)

# The SDK has no call for the synchronous endpoint of the newer family: its own sample reads the stream.
SAMPLE = importlib.import_module(
    "dashscope.examples.01_atomic_capabilities.audio.direct_call.asr_http_stream"
)

KEY = "sk-0123456789abcdef"
FLASH = "qwen3-asr-flash"
FILETRANS = "qwen3-asr-flash-filetrans"
AUDIO = "qwen-audio-3.1-asr-flash"
AUDIO_FILETRANS = "qwen-audio-3.1-asr-flash-filetrans"
dashscope.api_key = KEY


def faults(*active):
    request = urllib.request.Request(
        case["api"].replace("/api/v1", "/emulator/faults"), method="PUT", data=json.dumps(active).encode()
    )
    urllib.request.urlopen(request).close()


def messages(audio, context=""):
    return [
        {"role": "system", "content": [{"text": context}]},
        {"role": "user", "content": [{"audio": audio}]},
    ]


def flash(audio, **parameters):
    return dashscope.MultiModalConversation.call(
        model=parameters.pop("model", FLASH),
        messages=messages(audio),
        result_format="message",
        asr_options={"enable_itn": False},
        **parameters,
    )


def data_url():
    with open(case["path"], "rb") as audio:
        return "data:audio/wav;base64," + base64.b64encode(audio.read()).decode()


def text_of(response):
    content = response.output.choices[0].message.content
    return content[0]["text"] if content else ""


class Case(unittest.TestCase):
    def tearDown(self):
        faults()


class Flash(Case):
    def check(self, response):
        self.assertEqual(response.status_code, 200, response)
        self.assertEqual(text_of(response), case["text"])
        choice = response.output.choices[0]
        self.assertEqual(choice.finish_reason, "stop")
        annotation = choice.message.annotations[0]
        self.assertEqual((annotation["type"], annotation["language"]), ("audio_info", "en"))
        self.assertEqual(response.usage["seconds"], 2)

    def test_by_url(self):
        self.check(flash(case["url"]))

    def test_by_data_url(self):
        self.check(flash(data_url()))

    def test_by_local_file_that_the_sdk_uploads(self):
        self.check(flash("file://" + case["path"]))

    def test_streamed_in_pieces(self):
        responses = list(flash(data_url(), stream=True, incremental_output=True))
        self.assertTrue(all(response.status_code == 200 for response in responses))
        self.assertGreater(len(responses), 3)
        self.assertEqual("".join(map(text_of, responses)), case["text"])
        self.assertEqual(responses[-1].output.choices[0].finish_reason, "stop")
        self.assertEqual(responses[-1].output.choices[0].message.content, [])

    def test_streamed_cumulatively(self):
        texts = [text_of(response) for response in flash(data_url(), stream=True)]
        self.assertTrue(all(later.startswith(earlier) for earlier, later in zip(texts, texts[1:])))
        self.assertEqual(texts[-2:], [case["text"]] * 2)

    def test_streamed_and_merged_by_the_sdk(self):
        responses = list(flash(data_url(), stream=True, incremental_output=False))
        self.assertTrue(all(response.status_code == 200 for response in responses))
        self.assertIn(case["text"], [text_of(response) for response in responses])

    def test_streamed_one_byte_at_a_time(self):
        faults({"kind": "split_bytes"})
        responses = flash(data_url(), stream=True, incremental_output=True)
        self.assertEqual("".join(map(text_of, responses)), case["text"])

    def test_by_the_second_version_of_the_sdk(self):
        client = dashscope.Client(api_key=KEY, base_url=case["api"])
        answer = client.multimodal.chat.create(model=FLASH, messages=messages(data_url()))
        self.assertIn(case["text"], str(answer))


class FlashErrors(Case):
    def check(self, response, status, code):
        self.assertEqual((response.status_code, response.code), (status, code), response)
        self.assertTrue(response.request_id)
        self.assertTrue(response.message)

    def test_bad_key(self):
        self.check(flash(data_url(), api_key="no-key"), 401, "InvalidApiKey")

    def test_unknown_model(self):
        self.check(flash(data_url(), model="qwen9-asr"), 404, "ModelNotFound")

    def test_model_of_the_other_endpoint(self):
        response = flash(data_url(), model=FILETRANS)
        self.check(response, 400, "InvalidParameter")
        self.assertIn("url error", response.message)

    def test_no_audio(self):
        self.check(flash("data:audio/wav;base64,aGVsbG8="), 400, "InvalidParameter")

    def test_undownloadable_url(self):
        self.check(flash(case["url"] + ".gone"), 400, "InvalidParameter")

    def test_every_refusal_by_fault(self):
        for fault, status, code in [
            ({"kind": "throttle"}, 429, "Throttling.RateQuota"),
            ({"kind": "arrearage"}, 400, "Arrearage"),
            ({"kind": "status"}, 500, "InternalError"),
            ({"kind": "status", "status": 503}, 503, "ModelUnavailable"),
        ]:
            faults(fault)
            with self.subTest(fault):
                self.check(flash(data_url()), status, code)

    def test_a_gateway_page_has_no_code(self):
        faults({"kind": "status", "status": 502, "html": True})
        response = flash(data_url())
        self.assertEqual((response.status_code, response.code), (502, "Unknown"), response)

    def test_refusal_of_a_stream(self):
        faults({"kind": "throttle"})
        responses = list(flash(data_url(), stream=True, incremental_output=True))
        self.assertEqual(len(responses), 1)
        self.check(responses[0], 429, "Throttling.RateQuota")

    def test_error_in_the_middle_of_a_stream(self):
        faults({"kind": "stream_error", "after_events": 2, "code": "DataInspectionFailed", "status": 400})
        responses = list(flash(data_url(), stream=True, incremental_output=True))
        self.assertEqual([response.status_code for response in responses], [200, 200, 400])
        self.assertEqual(responses[-1].code, "DataInspectionFailed")

    def test_second_version_of_the_sdk_raises_by_kind(self):
        client = dashscope.Client(api_key=KEY, base_url=case["api"], max_retries=0)
        for fault, error in [
            ({"kind": "throttle"}, RateLimitError),
            ({"kind": "bad_key"}, AuthenticationError),
            ({"kind": "arrearage"}, PermissionDeniedError),
        ]:
            faults(fault)
            with self.subTest(fault), self.assertRaises(error):
                client.multimodal.chat.create(model=FLASH, messages=messages(data_url()))


class Filetrans(Case):
    def transcript(self, response):
        self.assertEqual(response.status_code, 200, response)
        self.assertEqual(response.output.task_status, "SUCCEEDED", response)
        with urllib.request.urlopen(response.output.result["transcription_url"]) as result:
            return json.load(result)

    def test_submit_fetch_and_wait(self):
        submitted = QwenTranscription.async_call(model=FILETRANS, file_url=case["url"], enable_itn=False)
        self.assertEqual(submitted.status_code, 200, submitted)
        self.assertEqual(submitted.output.task_status, "PENDING")
        fetched = QwenTranscription.fetch(task=submitted.output.task_id)
        self.assertIn(fetched.output.task_status, ["PENDING", "RUNNING", "SUCCEEDED"])
        waited = QwenTranscription.wait(task=submitted)
        result = self.transcript(waited)
        self.assertEqual(waited.usage["seconds"], 2)
        self.assertEqual(result["transcripts"][0]["text"], case["text"])
        self.assertEqual(result["file_url"], case["url"])

    def test_call_waits_by_itself(self):
        response = QwenTranscription.call(model=FILETRANS, file_url=case["url"], language="en", enable_words=True)
        sentence = self.transcript(response)["transcripts"][0]["sentences"][0]
        self.assertTrue(sentence["words"])

    def test_by_upload(self):
        url, _ = OssUtils.upload(model=FILETRANS, file_path=case["path"], api_key=KEY)
        self.assertTrue(url.startswith("oss://"))
        header = {"X-DashScope-OssResourceResolve": "enable"}
        response = QwenTranscription.call(model=FILETRANS, file_url=url, headers=header)
        self.assertEqual(self.transcript(response)["transcripts"][0]["text"], case["text"])

    def test_list_and_cancel(self):
        faults({"kind": "task_stuck"})
        submitted = QwenTranscription.async_call(model=FILETRANS, file_url=case["url"], enable_itn=False)
        listed = QwenTranscription.list(status="PENDING", page_size=100)
        self.assertEqual(listed.status_code, 200, listed)
        self.assertIn(submitted.output.task_id, [row["task_id"] for row in listed.output["data"]])
        canceled = QwenTranscription.cancel(task=submitted.output.task_id)
        self.assertEqual(canceled.status_code, 200, canceled)
        self.assertEqual(QwenTranscription.fetch(task=submitted).output.task_status, "CANCELED")
        again = QwenTranscription.cancel(task=submitted.output.task_id)
        self.assertEqual((again.status_code, again.code), (400, "UnsupportedOperation"))


class FiletransErrors(Case):
    def test_refused_submits(self):
        for arguments, status, code in [
            ({"api_key": "no-key"}, 401, "InvalidApiKey"),
            ({"model": "qwen9-asr-filetrans"}, 404, "ModelNotFound"),
            ({"model": FLASH}, 400, "InvalidParameter"),
            ({"language": "klingon"}, 400, "InvalidParameter"),
        ]:
            with self.subTest(arguments):
                arguments = {"model": FILETRANS, "file_url": case["url"], **arguments}
                response = QwenTranscription.async_call(**arguments)
                self.assertEqual((response.status_code, response.code), (status, code), response)

    def test_failed_task(self):
        response = QwenTranscription.call(model=FILETRANS, file_url=case["url"] + ".gone", enable_itn=False)
        self.assertEqual((response.status_code, response.output.task_status), (200, "FAILED"), response)
        self.assertEqual(response.output.code, "FILE_404_NOT_FOUND")

    def test_canceled_task(self):
        faults({"kind": "task_canceled"})
        response = QwenTranscription.call(model=FILETRANS, file_url=case["url"], enable_itn=False)
        self.assertEqual(response.output.task_status, "CANCELED")

    def test_unknown_task(self):
        response = QwenTranscription.wait(task="00000000-0000-0000-0000-000000000000")
        self.assertEqual((response.status_code, response.output.task_status), (200, "UNKNOWN"), response)

    def test_a_busy_gateway_is_asked_again(self):
        submitted = QwenTranscription.async_call(model=FILETRANS, file_url=case["url"], enable_itn=False)
        faults({"kind": "status", "on": ["query"], "status": 503, "next": 1})
        response = QwenTranscription.wait(task=submitted)
        self.assertEqual(response.output.task_status, "SUCCEEDED", response)

    def test_a_second_file_of_the_same_name(self):
        _, certificate = OssUtils.upload(model=FILETRANS, file_path=case["path"], api_key=KEY)
        with self.assertRaises(UploadFileException) as raised:
            OssUtils.upload(model=FILETRANS, file_path=case["path"], api_key=KEY, upload_certificate=certificate)
        self.assertIn("FileAlreadyExists", str(raised.exception))


class AudioFlash(Case):
    """The family qwen-audio-3.x, as the sample of the SDK sends and reads it."""

    def stream(self, model=AUDIO, **parameters):
        message = {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": data_url()}}]}
        body = {
            "model": model,
            "input": {"messages": [message]},
            "parameters": {"format": "wav", "sample_rate": "16000", **parameters},
        }
        client = dashscope.Client(api_key=KEY, base_url=case["api"], max_retries=0)
        transcript, events = io.StringIO(), io.StringIO()
        response = client.transport.open_stream(
            "POST", SAMPLE.PATH, json=body, headers={"X-DashScope-SSE": "enable"}, timeout=30, sdk_module="audio"
        )
        try:
            text = SAMPLE.receive_transcript(response, transcript, events)
        finally:
            response.close()
            client.close()
        self.assertEqual(transcript.getvalue(), text)
        return text, [json.loads(line) for line in events.getvalue().splitlines()]

    def test_every_event_is_a_snapshot_and_the_last_one_has_the_tokens(self):
        text, events = self.stream()
        self.assertEqual(text, case["text"])
        self.assertGreater(len(events), 3)
        texts = [event["output"]["text"] for event in events]
        self.assertTrue(all(later.startswith(earlier) for earlier, later in zip(texts, texts[1:])))
        self.assertTrue(all("output_tokens" not in event["usage"] for event in events[:-1]))
        self.assertGreater(events[-1]["usage"]["output_tokens"], 0)
        sentence = events[-1]["output"]["sentence"]
        self.assertTrue(sentence["sentence_end"] and sentence["words"])

    def test_a_short_recording_is_not_streamed_by_the_older_models(self):
        for model in ["qwen-audio-3.0-asr-flash", "fun-asr-flash"]:
            text, events = self.stream(model)
            self.assertEqual((text, len(events)), (case["text"], 1))

    def test_turns_of_speakers_are_in_the_last_event(self):
        _, events = self.stream(speaker_diarization_enabled=True)
        self.assertEqual(events[-1]["output"]["sentences"][0]["speaker_id"], 0)

    def test_an_error_in_the_stream(self):
        faults({"kind": "stream_error", "code": "DataInspectionFailed", "status": 400})
        with self.assertRaises(DashScopeError) as raised:
            self.stream()
        self.assertEqual(raised.exception.code, "DataInspectionFailed")

    def test_refusals(self):
        for parameters in [{"language_hints": ["yue"]}, {"format": ""}, {"vocabulary": {"Hark": 9}}]:
            with self.subTest(parameters), self.assertRaises(DashScopeError):
                self.stream(**parameters)


class AudioFiletrans(Case):
    def transcripts(self, results):
        self.assertEqual(results[0]["subtask_status"], "SUCCEEDED", results)
        with urllib.request.urlopen(results[0]["transcription_url"]) as result:
            return json.load(result)["transcripts"]

    def test_by_the_first_version_of_the_sdk(self):
        for model in [AUDIO_FILETRANS, "fun-asr", "paraformer-v2"]:
            with self.subTest(model):
                response = Transcription.call(
                    model=model, file_urls=[case["url"]], diarization_enabled=True, language_hints=["en"]
                )
                self.assertEqual((response.status_code, response.output.task_status), (200, "SUCCEEDED"), response)
                self.assertEqual(response.usage["duration"], 2)
                [transcript] = self.transcripts(response.output["results"])
                sentence = transcript["sentences"][0]
                self.assertEqual((transcript["text"], sentence["sentence_id"]), (case["text"], 1))
                self.assertTrue(sentence["words"])
                self.assertEqual(sentence["speaker_id"], 0)
                self.assertNotIn("emotion", sentence)

    def test_by_the_second_version_of_the_sdk(self):
        client = dashscope.Client(api_key=KEY, base_url=case["api"], max_retries=0)
        job = client.audio.asr.transcribe([case["url"]], poll_interval=0.05)
        self.assertEqual(job.status, "SUCCEEDED", job)
        self.assertEqual(self.transcripts(job.output["results"])[0]["text"], case["text"])
        client.close()

    def test_a_failed_task_tells_the_file_that_failed(self):
        response = Transcription.call(model="fun-asr", file_urls=[case["url"] + ".gone"])
        self.assertEqual(response.output.task_status, "FAILED", response)
        self.assertEqual(response.output["results"][0]["code"], "FILE_404_NOT_FOUND")

    def test_refused_submits(self):
        for arguments in [
            {"file_urls": [case["url"]] * 2},
            {"language_hints": ["fil"]},
            {"diarization_enabled": True, "speaker_count": 1},
        ]:
            with self.subTest(arguments):
                arguments = {"model": AUDIO_FILETRANS, "file_urls": [case["url"]], **arguments}
                response = Transcription.async_call(**arguments)
                self.assertEqual((response.status_code, response.code), (400, "InvalidParameter"), response)
        # The older family has one `file_url`.
        response = QwenTranscription.async_call(model=AUDIO_FILETRANS, file_url=case["url"])
        self.assertEqual((response.status_code, response.code), (400, "InvalidParameter"), response)


if __name__ == "__main__":
    unittest.main(verbosity=2)
