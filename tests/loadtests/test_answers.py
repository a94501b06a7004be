"""The raw client looks into an answer once and knows it again by its bytes: what it accepts must not change by that."""

import json

import pytest

from loadtests import golden
from loadtests.outcome import Attempt, WrongAnswerError
from loadtests.users.raw_http import Answers
from tests.loadtests.conftest import GOLDEN

CASES = golden.read(GOLDEN)


def answer(case, pod="detector-a", change=0.0):
    """The JSON's length and the body of an answer with binary tensors."""
    outputs, raw = [], b""
    for tensor in CASES[case].outputs:
        values = tensor.data.copy()
        values.flat[0] += values.dtype.type(change)
        data = values.tobytes()
        outputs.append(
            {
                "name": tensor.name,
                "datatype": tensor.datatype,
                "shape": list(values.shape),
                "parameters": {"binary_data_size": len(data)},
            }
        )
        raw += data
    text = json.dumps({"model_version": "3", "parameters": {"pod": pod}, "outputs": outputs}).encode()
    return len(text), text + raw


def verdict(answers, case, length, body):
    """What the check says, and who answered."""
    attempt = Attempt()
    try:
        answers.check(case, length, body, attempt)
    except WrongAnswerError as error:
        return str(error), attempt.pod, attempt.version
    return "right", attempt.pod, attempt.version


def test_the_same_bytes_get_the_same_verdict_each_time():
    """Right and wrong ones, with the pod and the version, in turn."""
    answers = Answers(CASES)
    right, other, wrong = answer(0), answer(0, pod="detector-b"), answer(0, change=64.0)

    for _ in range(3):
        assert verdict(answers, 0, *right) == ("right", "detector-a", "3")
        assert verdict(answers, 0, *other) == ("right", "detector-b", "3")
        told, pod, _ = verdict(answers, 0, *wrong)
        assert told.endswith("differs")
        assert pod == "detector-a"


def test_a_right_answer_to_another_question_is_wrong():
    """The bytes alone do not make an answer right."""
    answers = Answers(CASES)
    assert verdict(answers, 0, *answer(0))[0] == "right"

    assert verdict(answers, 1, *answer(0))[0] != "right"


def test_the_same_bytes_divided_elsewhere_are_another_answer():
    """The head says where the JSON ends."""
    answers = Answers(CASES)
    length, body = answer(0)
    assert verdict(answers, 0, length, body)[0] == "right"

    with pytest.raises(ValueError, match=r"(?s)."):
        answers.check(0, length - 1, body, Attempt())


def test_more_answers_than_it_keeps_stay_right_and_wrong():
    """A server that never says the same twice neither fills the memory nor changes a verdict."""
    answers = Answers(CASES)
    for number in range(2500):
        assert verdict(answers, 0, *answer(0, pod=f"pod-{number}"))[:2] == ("right", f"pod-{number}")

    assert verdict(answers, 0, *answer(0, change=64.0))[0] != "right"
