"""The service's own SDK against the emulator. Run by official_sdk.rs, which passes one argument: a JSON object."""

import base64
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
from dashscope.audio.qwen_asr import QwenTranscription  # noqa: E402
from dashscope.common.error import UploadFileException  # noqa: E402
from dashscope.utils.oss_utils import OssUtils  # noqa: E402
from dashscope.v2.errors import AuthenticationError, PermissionDeniedError, RateLimitError  # noqa: E402

KEY = "sk-0123456789abcdef"
FLASH = "qwen3-asr-flash"
FILETRANS = "qwen3-asr-flash-filetrans"
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


if __name__ == "__main__":
    unittest.main(verbosity=2)
