"""Malicious and broken weights: each is refused in one sentence, touching no file and taking no memory.

All payloads are put together byte by byte, since no library would write them. They are read in one
process of their own, whose peak memory and system calls are watched.
"""

from __future__ import annotations

import io
import json
import os
import pickletools
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

PROTO, STOP, MARK, EMPTY_DICT, REDUCE = b"\x80\x02", b".", b"(", b"}", b"R"


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def tup(*items: bytes) -> bytes:
    return MARK + b"".join(items) + b"t"


def storage(count: int = 4, key: str = "0", kind: str = "FloatStorage") -> bytes:
    return tup(text("storage"), name("torch", kind), text(key), text("cpu"), number(count)) + b"Q"


def tensor(
    shape: tuple[int, ...] = (4,),
    stride: tuple[int, ...] = (1,),
    offset: int = 0,
    source: bytes | None = None,
) -> bytes:
    hooks = name("collections", "OrderedDict") + b")" + REDUCE
    parts = [source or storage(), number(offset), tup(*map(number, shape)), tup(*map(number, stride))]
    return name("torch._utils", "_rebuild_tensor_v2") + tup(*parts, b"\x89", hooks) + REDUCE


def state(*values: bytes) -> bytes:
    items = b"".join(text(f"w{i}") + value for i, value in enumerate(values))
    return PROTO + EMPTY_DICT + MARK + items + b"u" + STOP


def archive(
    pickled: bytes,
    data: bytes | None = struct.pack("<4f", 1, 2, 3, 4),
    compression: int = zipfile.ZIP_STORED,
    **extra: bytes,
) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as file:
        file.writestr("a/data.pkl", pickled)
        if data is not None:
            file.writestr("a/data/0", data)
        file.writestr("a/version", "3\n")
        for member, value in extra.items():
            file.writestr(f"a/{member.replace('__', '/').replace('_dot_', '.')}", value)
    return out.getvalue()


def call(module: str, attribute: str, *args: bytes) -> bytes:
    return archive(state(name(module, attribute) + tup(*args) + REDUCE))


def safe(header: object, data: bytes = struct.pack("<4f", 1, 2, 3, 4), length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def one(**changes: object) -> dict[str, object]:
    return {"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], **changes}}


def patched(raw: bytes, old: bytes, new: bytes) -> bytes:
    assert old in raw
    return raw.replace(old, new)


def huge_directory() -> bytes:
    """A zip file whose directory holds 8 MiB of records, which would take ten times that to read."""
    body = b"PK\3\4" + bytes(8 << 20)
    return body + b"PK\5\6" + struct.pack("<4H2IH", 0, 0, 65535, 65535, 8 << 20, 4, 0)


def lying_directory() -> bytes:
    """The directory says that a tensor's member holds a terabyte."""
    raw = bytearray(archive(state(tensor((1 << 30,), source=storage(1 << 30)))))
    at = raw.index(b"PK\1\2", raw.index(b"PK\1\2") + 4)
    raw[at + 20 : at + 28] = struct.pack("<2I", 0xFFFFFFF0, 0xFFFFFFF0)
    return bytes(raw)


def payloads(canary: Path) -> dict[str, tuple[bytes, str]]:
    """Bytes and what the refusal must mention, by name (which is not that of the file)."""
    touch = f"touch {canary}"
    python = f"open({str(canary)!r}, 'w')"
    good, floats = archive(state(tensor())), struct.pack
    system = name("posix", "system") + tup(text(touch)) + REDUCE
    stack_global = b"\x80\x04" + text("posix") + text("system") + b"\x93" + tup(text(touch)) + REDUCE + STOP
    old = PROTO + number(0x1950A86A20F9469CFC6C) + STOP
    return {
        "reduce": (call("posix", "system", text(touch)), "posix.system: refused"),
        "eval": (call("builtins", "eval", text(python)), "builtins.eval: refused"),
        "exec": (call("builtins", "exec", text(python)), "builtins.exec: refused"),
        "getattr": (call("builtins", "getattr", text("a"), text("b")), "builtins.getattr: refused"),
        "popen": (call("subprocess", "Popen", text(touch)), "subprocess.Popen: refused"),
        "bytearray": (call("builtins", "bytearray", number(1 << 40)), "builtins.bytearray: refused"),
        "torch.load": (call("torch.serialization", "load", text(touch)), "torch.serialization.load: refused"),
        "torch.hub": (call("torch.hub", "load", text("a"), text("b")), "torch.hub.load: refused"),
        "jit": (call("torch.jit", "load", text("a")), "torch.jit.load: refused"),
        "namespace": (call("argparse", "Namespace"), "argparse.Namespace: refused"),
        "numpy": (call("numpy.core.multiarray", "_reconstruct"), "_reconstruct: refused"),
        "stack-global": (archive(stack_global), "posix.system: refused"),
        "inst": (archive(PROTO + MARK + text(touch) + b"iposix\nsystem\n" + STOP), "posix.system: refused"),
        "obj": (archive(PROTO + MARK + name("posix", "system") + text(touch) + b"o" + STOP), "posix.system"),
        "newobj": (archive(PROTO + name("subprocess", "Popen") + tup(text(touch)) + b"\x81."), "subprocess"),
        "build": (archive(PROTO + name("types", "SimpleNamespace") + b")R" + EMPTY_DICT + b"b."), "types."),
        "hidden": (archive(state(tensor(), system)), "posix.system: refused"),
        "uncalled": (archive(state(tensor(), name("posix", "system"))), "posix.system: refused"),
        "persistent": (archive(PROTO + name("posix", "system") + b"Q."), "posix.system: refused"),
        "extension": (archive(PROTO + b"\x82\x01" + STOP), "broken"),
        "bare-pickle": (PROTO + system + STOP, "posix.system: refused"),
        "old-format": (old + PROTO + system + STOP, "version 1.6"),
        "nested-zip": (archive(state(tensor()), inner_dot_pt=good), "inner.pt"),
        "zip-as-pickle": (archive(good), "broken"),
        "torchscript": (archive(state(tensor()), constants_dot_pkl=b""), "TorchScript"),
        "compressed": (archive(state(tensor()), bytes(1 << 24), zipfile.ZIP_DEFLATED), "compressed"),
        "truncated-zip": (good[:-40], "cut short"),
        "half-zip": (good[: len(good) // 2], "cut short"),
        "appended": (good + call("posix", "system", text(touch)), "zip"),
        "trailing": (good + b"\0" * 99, "after its end"),
        "huge-directory": (huge_directory(), "directory too large"),
        "lying-directory": (lying_directory(), "zip|lies"),
        "bad-crc": (patched(good, b"w0", b"w1"), "damaged zip"),
        "no-storage": (archive(state(tensor()), None), "size of its tensors"),
        "huge-storage": (archive(state(tensor((1 << 40,), source=storage(1 << 40)))), "size of its tensors"),
        "short-storage": (archive(state(tensor()), b"\0" * 8), "size of its tensors"),
        "two-types": (archive(state(tensor(), tensor(source=storage(kind="LongStorage")))), "broken"),
        "expanded": (archive(state(tensor((1 << 20, 1 << 20), (0, 0)))), "describes a tensor"),
        "beyond": (archive(state(tensor(offset=1))), "describes a tensor"),
        "negative": (archive(state(tensor((-4,), (1,)))), "broken"),
        "wrong-rank": (archive(state(tensor((2, 2), (1,)))), "broken"),
        "many-views": (archive(state(*[tensor((1024,), source=storage(1024))] * 99), bytes(4096)), "many"),
        "long-string": (archive(PROTO + b"X\xff\xff\xff\xff" + b"a" * 9 + STOP), "broken"),
        "many-objects": (archive(PROTO + EMPTY_DICT * 3_000_000 + STOP), "broken"),
        "empty-stack": (archive(PROTO + b"R" + STOP), "broken"),
        "no-stop": (archive(PROTO + EMPTY_DICT), "broken"),
        "a-list": (archive(PROTO + b"]" + STOP), "no state dict"),
        "empty-dict": (archive(PROTO + EMPTY_DICT + STOP), "no state dict"),
        "nameless": (archive(PROTO + EMPTY_DICT + number(1) + tensor() + b"s."), "without names"),
        "nan": (archive(state(tensor()), floats("<4f", 1, float("nan"), 3, 4)), "w0 holds NaN"),
        "infinite": (archive(state(tensor()), floats("<4f", 1, 2, 3, float("-inf"))), "w0 holds NaN"),
        "empty": (b"", "is empty"),
        "text": (b"import os; os.system('true')\n", "neither"),
        "png": (b"\x89PNG\r\n\x1a\n" + bytes(99), "neither"),
        "safe-length": (safe(one(), length=1 << 60), "header's length"),
        "safe-long-header": (safe(b"{" + b" " * (9 << 20)), "header's length"),
        "safe-no-json": (safe(b'{"w": '), "not valid"),
        "safe-deep-json": (safe(b'{"w":' + b"[" * 200_000), "not valid"),
        "safe-list": (safe(b"{}x"), "not valid"),
        "safe-twins": (safe(b'{"w": 1, "w": 2}'), "not valid"),
        "safe-shape": (safe(one(shape=[1 << 40])), "lies about 'w'"),
        "safe-overflow": (safe(one(shape=[1 << 32, 1 << 32])), "lies about 'w'"),
        "safe-negative": (safe(one(shape=[-4])), "lies about 'w'"),
        "safe-boolean": (safe(one(shape=[True, 4])), "lies about 'w'"),
        "safe-offsets": (safe(one(data_offsets=[0, 1 << 40], shape=[1 << 38])), "as long as"),
        "safe-gap": (safe(one(data_offsets=[4, 20])), "lies about 'w'"),
        "safe-overlap": (safe(one() | {"v": one()["w"]}), "lies about"),
        "safe-type": (safe(one(dtype="PICKLE")), "lies about 'w'"),
        "safe-no-entry": (safe({"w": "x"}), "lies about 'w'"),
        "safe-truncated": (safe(one(), data=b"\0" * 8), "as long as"),
        "safe-trailing": (safe(one()) + good, "as long as|after its end"),
        "safe-empty": (safe({}, data=b""), "no tensors"),
        "safe-nan": (safe(one(), floats("<4f", float("nan"), 2, 3, 4)), "w holds NaN"),
    }


READER = """
import json, pathlib, sys
from headwater.models.state import load_state, contents
from headwater.errors import UserError
folder = pathlib.Path(sys.argv[1])
load_state(folder / "good.pt"), load_state(folder / "good.safetensors")
calls = []
def note(event, args):
    writes = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
    if writes or event in ("os.system", "subprocess.Popen", "os.exec", "os.fork", "socket.connect", "exec"):
        calls.append(event)
def peak():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])
pathlib.Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports
before, answers = peak(), {}
sys.addaudithook(note)
for path in sorted(folder.glob("payload-*")):
    calls.clear()
    try:
        load_state(path)
        answer = "accepted"
    except UserError as error:
        answer = str(error)
    except BaseException as error:
        answer = f"raised {type(error).__name__}: {error}"
    answers[path.name] = [answer, list(calls), peak() - before]
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, list[str], int]]:
    folder = tmp_path_factory.mktemp("checkpoints")
    (folder / "good.pt").write_bytes(archive(state(tensor())))
    (folder / "good.safetensors").write_bytes(safe(one()))
    for number, (raw, _) in enumerate(payloads(folder / "canary").values()):
        (folder / f"payload-{number}.pt").write_bytes(raw)
    before = sorted(os.listdir(folder))
    done = subprocess.run(
        [sys.executable, "-c", READER, str(folder)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(folder)) == before
    answers = json.loads(done.stdout)
    return {label: answers[f"payload-{number}.pt"] for number, label in enumerate(EXPECTED)}


EXPECTED = {label: words for label, (_, words) in payloads(Path("canary")).items()}


@pytest.mark.parametrize("label", EXPECTED)
def test_refused_in_a_sentence_with_nothing_run(refusals, label: str) -> None:
    answer, calls, _ = refusals[label]
    assert not answer.startswith(("accepted", "raised")), answer
    assert any(part in answer for part in EXPECTED[label].split("|")), answer
    assert "\n" not in answer
    assert len(answer) < 500
    assert calls == []


def test_there_are_many_kinds() -> None:
    assert len(EXPECTED) >= 60


def test_refusals_take_little_memory(refusals) -> None:
    worst = max(refusals.items(), key=lambda item: item[1][2])
    assert worst[1][2] < 200 * 1024, worst


def test_hand_made_files_of_the_same_kind_are_read(tmp_path: Path) -> None:
    """The builder above makes valid files when nothing is wrong with them, so refusals mean something."""
    from headwater.models.state import load_state

    (tmp_path / "good.pt").write_bytes(archive(state(tensor((2, 2), (2, 1)))))
    (tmp_path / "good.safetensors").write_bytes(safe(one()))
    assert load_state(tmp_path / "good.pt")["w0"].tolist() == [[1, 2], [3, 4]]
    assert load_state(tmp_path / "good.safetensors")["w"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "step": 3},
        lambda s: {"model": {k: v + 1 for k, v in s.items()}, "ema": s, "opt": [1, 2.5, None]},
        lambda s: {f"module.{k}": v for k, v in s.items()},
    ],
)
def test_usual_nestings_are_taken_off(tmp_path: Path, wrap: Callable) -> None:
    from headwater.models.state import contents, load_state

    plain = {"a": torch.randn(3, 4).t(), "b": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)}
    plain |= {
        "c": torch.arange(3),
        "d": torch.randn(5).half(),
        "e": torch.randn(5)[2:],
        "f": torch.tensor(2.0),
    }
    torch.save(wrap(plain), tmp_path / "x.pt")
    state_dict = load_state(tmp_path / "x.pt")
    assert state_dict.keys() == plain.keys()
    assert all(torch.equal(state_dict[k], plain[k]) for k in plain)
    assert {k: e.shape for k, e in contents(tmp_path / "x.pt").entries.items()} == {
        k: tuple(v.shape) for k, v in plain.items()
    }


def test_every_instruction_that_torch_writes_is_known(tmp_path: Path) -> None:
    """A whole network with an optimiser beside it, as trainers save them."""
    from headwater.models.state import load_state

    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
    optimiser = torch.optim.AdamW(network.parameters())
    network(torch.randn(2, 3, 8, 8)).sum().backward()
    optimiser.step()
    saved = {"state_dict": network.state_dict(), "optimizer": optimiser.state_dict(), "epoch": 2, "loss": 0.5}
    torch.save(saved, tmp_path / "x.pt")
    assert load_state(tmp_path / "x.pt").keys() == network.state_dict().keys()


def test_payloads_are_pickles() -> None:
    """What is called a pickle above parses as one, so it is refused for what it asks and not for noise."""
    raw = payloads(Path("canary"))["reduce"][0]
    with zipfile.ZipFile(io.BytesIO(raw)) as file:
        assert "posix system" in [arg for _, arg, _ in pickletools.genops(file.read("a/data.pkl"))]
