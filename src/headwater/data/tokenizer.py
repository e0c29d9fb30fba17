"""Text as token ids: a small vocabulary trained on the user's own sentences, or a published one by name."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from headwater.data.pretrained import pretrained
from headwater.data.tokenizer_json import is_harmless
from headwater.data.wording import plain, says_nothing, short
from headwater.errors import UserError, need
from headwater.notes import note_some, some

if TYPE_CHECKING:
    import tokenizers

Kind = Literal["bpe", "word"]
SPECIALS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
_FORMAT = 1
_LONGEST = 64 * 2**20
"""Characters of JSON that `from_json` accepts: four times the largest published vocabularies."""


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """Sentences <-> ids 0 .. size - 1. `pad`, `unk`, `cls`, `sep` and `mask` are the ids of its marks.

    `encode` adds no marks but padding: how source and target are laid out is a method's own business.
    """

    model: tokenizers.Tokenizer
    pad: int
    unk: int
    cls: int
    sep: int
    mask: int

    @classmethod
    def train(cls, texts: Sequence[str], size: int, kind: Kind = "bpe") -> Tokenizer:
        """Learn at most `size` entries, the five marks included, from sentences.

        bpe: merged pairs of characters (Sennrich et al. 2016), spaces kept, so `decode` returns the very
        text. word: the most frequent words and punctuation marks; other words become `unk`, and `decode`
        sets the usual spaces. Raises UserError for empty texts or a size without room for any entry.
        """
        lib = _tokenizers()
        need(any(text.strip() for text in texts), "there is no text to learn a vocabulary from")
        need(size > len(SPECIALS), f"a vocabulary has {len(SPECIALS)} marks: set its size above that")
        need(kind in ("bpe", "word"), f"a tokenizer is of kind bpe or word, not {kind!r}")
        marks = list(SPECIALS.values())
        pre, decoders = lib.pre_tokenizers, lib.decoders
        if kind == "bpe":
            model = lib.Tokenizer(lib.models.BPE(unk_token=SPECIALS["unk"]))
            model.pre_tokenizer = pre.Sequence([pre.Metaspace(), pre.Punctuation("isolated")])
            model.decoder = decoders.Metaspace()
            trainer = lib.trainers.BpeTrainer(vocab_size=size, special_tokens=marks, show_progress=False)
        else:
            model = lib.Tokenizer(lib.models.WordLevel(unk_token=SPECIALS["unk"]))
            model.pre_tokenizer = pre.BertPreTokenizer()
            model.decoder = decoders.WordPiece(prefix="##", cleanup=True)
            trainer = lib.trainers.WordLevelTrainer(
                vocab_size=size, special_tokens=marks, show_progress=False
            )
        model.train_from_iterator(map(plain, texts), trainer)
        return cls(model, *(model.token_to_id(mark) for mark in marks))

    @classmethod
    def named(cls, name: str | Tokenizer) -> Tokenizer:
        """The tokenizer of a Hugging Face model (`bert-base-uncased`) or of a local folder; one that is given
        itself is returned.

        A mark that it lacks is added. Raises UserError when there is no such tokenizer or no network.
        """
        if isinstance(name, Tokenizer):
            return name
        found = pretrained("AutoTokenizer", name, "train one: bpe or word")
        model = getattr(found, "backend_tokenizer", None)
        if model is None:
            raise UserError(f"{name} is a tokenizer in Python alone, too slow here: name another one")
        ids = []
        for mark, text in SPECIALS.items():
            number = getattr(found, f"{mark}_token_id")
            if number is None:
                model.add_special_tokens([text])
                number = model.token_to_id(text)
            ids.append(number)
        return cls(model, *ids)

    @classmethod
    def unmarked(cls, name: str) -> Tokenizer:
        """A Hugging Face model's tokenizer in lower case, whose last entry stands for all marks: GLIDE's.

        Raises UserError as `named`.
        """
        from tokenizers import normalizers

        model: Any = getattr(
            pretrained("AutoTokenizer", name, "train one: bpe or word"), "backend_tokenizer", None
        )
        if model is None:
            raise UserError(f"{name} is a tokenizer in Python alone, too slow here: name another one")
        model.normalizer = normalizers.Lowercase()
        return cls(model, *[model.get_vocab_size() - 1] * len(SPECIALS))

    @classmethod
    def of(cls, which: str, texts: Sequence[str], size: int) -> Tokenizer:
        """`bpe` or `word`, trained on the texts up to `size` entries; any other word is a published name."""
        if which == "bpe" or which == "word":
            return cls.train(texts, size, which)
        return cls.named(which)

    @property
    def size(self) -> int:
        """Number of entries, marks included."""
        return self.model.get_vocab_size()

    def split(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, of whatever length, without marks.

        Composed and decomposed characters are one, except to a published tokenizer with rules of its own.
        """
        return [e.ids for e in self._encodings(texts)]

    def _encodings(self, texts: Sequence[str]) -> Any:
        self.model.no_padding()
        self.model.no_truncation()
        told = list(texts) if self.model.normalizer is not None else [plain(text) for text in texts]
        return _guarded(self.model.encode_batch, told, add_special_tokens=False)

    def read(
        self, texts: Sequence[str], length: int | None, noun: str = "texts", *, must: bool = False
    ) -> list[list[int]]:
        """The ids of each text, cut at `length`; how many lose something by it is noted, and which.

        must: raise UserError if there is a text of which no word at all is known.
        """
        cut, unknown, strange = list[str](), list[str](), list[str]()
        told, rows = sum(not says_nothing(text) for text in texts), list[list[int]]()
        for text, found in zip(texts, self._encodings(texts), strict=True):
            if self.unk in found.ids:
                if not self._knows(found.ids):
                    strange.append(short(text))
                unknown.append(f"{short(text)} ({self._unknown(text, found)})")
            if length is not None and len(found.ids) > length:
                cut.append(short(text))
            rows.append(found.ids[:length])
        note_some("had words or characters that the vocabulary lacks", unknown, told, noun)
        if length is not None:
            note_some(f"had to be cut at {length} tokens", cut, told, noun)
        if must and strange:
            which = some(noun, strange, len(strange), told)
            raise UserError(
                f"no word is known to the vocabulary in {which}; choose words of the texts that were fitted "
                "on, or fit on such texts"
            )
        return rows

    def _knows(self, ids: Sequence[int]) -> bool:
        """Whether anything but the marks of spaces is known."""
        return any(i != self.unk and str(self.model.id_to_token(i)).strip("\u2581\u0120 ") for i in ids)

    def _unknown(self, text: str, found: Any) -> str:
        """The first words that it lacks."""
        told = text if self.model.normalizer is not None else plain(text)
        places = [a for i, (a, _) in zip(found.ids, found.offsets, strict=True) if i == self.unk]
        # A word of which one character is unknown is named whole.
        words = dict.fromkeys(w.group() for w in re.finditer(r"\S+", told) if _within(places, w.span()))
        return ", ".join([*list(words)[:3], *(["..."] if len(words) > 3 else [])])

    def encode(self, texts: Sequence[str], length: int, *, must: bool = False) -> Tensor:
        """int64 (B, length): ids, cut at `length` and padded behind. `must` and notes as `read`."""
        need(length >= 1, f"a text has at least one token, not {length}")
        rows = [ids + [self.pad] * (length - len(ids)) for ids in self.read(texts, length, must=must)]
        return torch.tensor(rows, dtype=torch.int64).reshape(len(rows), length)

    def decode(self, ids: Tensor, first: bool = False) -> list[str]:
        """Texts of int64 (B, L); padding, `cls`, `sep` and `mask` are left out, `unk` stays visible.

        first: a row ends before its first `sep`. Raises UserError for an id outside the vocabulary.
        """
        need(ids.ndim == 2, f"give ids as (texts, tokens), not {tuple(ids.shape)}")
        if ids.numel():
            fits = int(ids.min()) >= 0 and int(ids.max()) < self.size
            need(fits, f"ids go from 0 to {self.size - 1} in this vocabulary")
        if first:
            ids = ids.masked_fill((ids == self.sep).cumsum(1) > 0, self.pad)
        marks = {self.pad, self.cls, self.sep, self.mask}
        rows = [[i for i in row if i not in marks] for row in ids.tolist()]
        return [_guarded(self.model.decode, row, skip_special_tokens=False) for row in rows]

    def to_json(self) -> str:
        """The whole tokenizer as one JSON text."""
        marks = {mark: getattr(self, mark) for mark in SPECIALS}
        return json.dumps({"format": _FORMAT, "marks": marks, "model": self.model.to_str()})

    @classmethod
    def from_json(cls, text: str) -> Tokenizer:
        """Read what `to_json` wrote. Raises UserError for anything else."""
        lib = _tokenizers()
        need(len(text) <= _LONGEST, f"a tokenizer has at most {_LONGEST // 2**20} million characters")
        broken = UserError("this is no tokenizer written by headwater: fit again")
        try:
            about = json.loads(text)
            format, marks = about["format"], [about["marks"][mark] for mark in SPECIALS]
            if not is_harmless(json.loads(about["model"])):
                raise broken
            model = _guarded(lib.Tokenizer.from_str, about["model"])
        except (ValueError, TypeError, KeyError, IndexError, RecursionError):
            raise broken from None
        need(format == _FORMAT, "this tokenizer has another format: read it with a newer headwater")
        size = model.get_vocab_size()
        if not all(isinstance(i, int) and 0 <= i < size for i in marks):
            raise broken
        need(max(model.get_vocab().values()) < size, f"{broken}")
        return cls(model, *marks)


def _guarded(function: Any, *given: Any, **options: Any) -> Any:
    """A call of the library, which raises bare Exception for what it cannot do, BaseException for a panic."""
    try:
        return function(*given, **options)
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise UserError(f"this tokenizer is damaged ({str(error)[:100]}): fit again") from None


def _within(places: Sequence[int], span: tuple[int, int]) -> bool:
    return any(span[0] <= place < span[1] for place in places)


def _tokenizers() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise UserError("text needs the tokenizers library: pip install 'headwater[text]'") from None
    return tokenizers
