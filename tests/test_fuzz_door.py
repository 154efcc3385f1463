"""Whatever bytes come to the door, it answers: never an exception, never long, never much memory."""

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.fuzz import EXTREMES, mended, reset_peak, resident, sound_files
from tasks.door import admit, limits_of, stored_form
from tasks.images import read_image
from tasks.params import CheckDataParams

FILES = sound_files()
SECONDS, MEGABYTES = 2.0, 200.0  # of one file, of all together; the pixels are limited to a million
QUIET = pytest.mark.filterwarnings("ignore")  # Pillow's, of damaged metadata


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A sound file with some changes: bytes set, an extreme number, a cut, a part doubled or dropped."""
    content = bytearray(draw(st.sampled_from([file for files in FILES.values() for file in files])))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, min(100, len(content))) | st.integers(0, len(content)))
        how = draw(st.sampled_from(["set", "extreme", "cut", "double", "drop"]))
        if how == "set":
            new = draw(st.binary(min_size=1, max_size=8))
            content[place : place + len(new)] = new
        elif how == "extreme":
            width = draw(st.sampled_from([1, 2, 4, 8]))
            number = draw(st.sampled_from(EXTREMES)) & (256**width - 1)
            content[place : place + width] = number.to_bytes(width, draw(st.sampled_from(["little", "big"])))
        elif how == "cut":
            del content[place:]
        elif how == "double":
            part = content[place : place + draw(st.integers(1, 200))]
            content[place:place] = part * draw(st.integers(1, 20))
        else:
            del content[place : place + draw(st.integers(1, 200))]
    return mended(bytes(content)) if draw(st.booleans()) else bytes(content)


@QUIET
def test_door_answers_five_hundred_damaged_files_in_bounded_time_and_memory(check_data_params: CheckDataParams) -> None:
    limits, outcomes, slowest, before = limits_of(check_data_params, 1_000_000, 1_000_000), set(), [0.0], reset_peak()

    @settings(max_examples=500, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(damaged())
    def admits(content: bytes) -> None:
        began = time.process_time()
        admitted = admit(content, limits)
        slowest[0] = max(slowest[0], time.process_time() - began)
        assert admitted.reasons or admitted.image is not None
        assert all(isinstance(reason, str) and reason for reason in admitted.reasons)
        outcomes.add((admitted.image is None, bool(admitted.reasons)))

    admits()
    assert slowest[0] < SECONDS
    assert resident("VmHWM") - before < MEGABYTES
    assert outcomes == {(True, True), (False, True), (False, False)}  # else the damage was too little or too much


@QUIET
@settings(max_examples=100, derandomize=True, deadline=None, database=None)
@given(st.binary(max_size=300))
def test_bytes_of_no_format_are_no_image(content: bytes) -> None:
    assert read_image(content)[0] is None


@pytest.mark.parametrize("kind", list(FILES))
def test_what_is_kept_of_a_sound_file_reads_as_the_same_pixels(kind: str, check_data_params: CheckDataParams) -> None:
    limits = limits_of(check_data_params)
    for content in FILES[kind]:
        admitted = admit(content, limits)
        if admitted.image is not None:
            again, _ = read_image(stored_form(admitted.image))
            assert again is not None
            assert again.tobytes() == admitted.image.tobytes()
