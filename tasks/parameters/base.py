"""What the groups of parameters have in common."""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from typing import Annotated, Any
from urllib.parse import unquote

from pydantic import AfterValidator, BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

Limits = tuple[float, float]  # the least and the greatest value


def read_bounds(text: str) -> tuple[str, Limits]:
    """Read what is allowed in a column, such as rooms=1..20: the column, the least and the greatest value."""
    name, _, limits = text.partition("=")
    low, _, high = limits.partition("..")
    try:
        least, greatest = float(low or "-inf"), float(high or "inf")
    except ValueError:
        raise ValueError("is not COLUMN=LEAST..GREATEST in numbers") from None
    if not least <= greatest:
        raise ValueError("has a least value above the greatest")
    return name, (least, greatest)


def read_sign(text: str) -> tuple[str, int]:
    """Read the sign that a weight may have, such as area=+: the term, and 1 or -1."""
    name, _, sign = text.rpartition("=")
    return name, 1 if sign == "+" else -1


def _check_bounds(text: str) -> str:
    return read_bounds(text) and text


def _check_past(day: str) -> str:
    if not day:
        return day
    try:
        future = date.fromisoformat(day) > datetime.now(UTC).date()
    except ValueError:
        raise ValueError("is no day of the calendar") from None
    if future:
        raise ValueError("is a day that is still to come; name today or an earlier one")
    return day


@dataclass(frozen=True)
class Form:
    """What a text must look like: the pattern is part of the JSON schema, so a server refuses it before it is kept."""

    pattern: str  # for Python and for JavaScript
    sentence: str  # for people, after the name of the field
    secret: bool = False  # whether what was given may hold a password, and so is never shown
    kept: str = ""  # pattern of what a server may keep, where that is less

    def check(self, text: str) -> str:
        """Return the text as it is.

        Raises:
            PydanticCustomError: it looks different; the type is `form`, or `secret`.
        """
        if not re.fullmatch(self.pattern, text):
            raise PydanticCustomError("secret" if self.secret else "form", "{sentence}", {"sentence": self.sentence})
        return text

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check the text after it is known to be one."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Add the pattern to the JSON schema."""
        return handler(schema) | {"pattern": self.kept or self.pattern}


Bounds = Annotated[
    str,
    Form(r"^[^=]+=[^=]*\.\.[^=]*$", "must be COLUMN=LEAST..GREATEST, such as rooms=1..20"),
    AfterValidator(_check_bounds),
]
Sign = Annotated[str, Form(r"^[^\0]+=[+-]$", "must be TERM=+ or TERM=-, such as area=+")]
Connection = Annotated[
    str,
    Form(r"^([A-Za-z][A-Za-z0-9_-]*)?$", "must be a name of letters, digits, - and _, never an address", secret=True),
]
Day = Annotated[str, Form(r"^(\d{4}-\d{2}-\d{2})?$", "must be a day, such as 2026-11-01"), AfterValidator(_check_past)]
PASSWORD = "|".join(
    (
        r"""://[^/?#@\s'"]*@""",  # user and password before the host
        r"""://[^/?#@:\s'"]+:(?!\d+(?:[/?#]|$))[^\s'"]*@""",  # a password with characters that should be escaped
        r"""\b(?!s3://|https?://|file://)[A-Za-z][A-Za-z0-9+.-]*://[^\s'"]*@""",  # an address of a database
    )
)


def _any_case(pattern: str) -> str:
    """Write a pattern for both cases of each letter, since JavaScript has no flag inside of a pattern."""
    return re.sub("[a-z]", lambda letter: f"[{letter[0]}{letter[0].upper()}]", pattern)


# Names of parameters of a URL that let whoever has it read the file.
SECRET = _any_case("sig|sas|{}*(?:token|secret|key(?!word)|passw|pwd|auth(?!or(?!i))|credential|signature){}*").replace(
    "{}", r"[^=&;#\s]"
)
# Parameters that are new whenever the same file is signed. Those of the last two mean it only beside their first one.
SIGNING = (
    re.compile(r"x-(amz|goog)-[\w-]+"),  # S3 and Google
    re.compile(
        "signature|awsaccesskeyid|googleaccessid|key-pair-id|policy|expires"
    ),  # S3, Google and CloudFront before
    re.compile("sig|sv|ss|srt?|sp|se|st|spr|sip|si|sdd|ses|scid|saoid|suoid|skoid|sktid|sk[tesv]"),  # Azure
)
SIGNED: dict[str, str] = {}  # URL as it is shown and stored -> with its signature, which this process alone knows


def hide_signature(address: str) -> str:
    """Return a URL without its signature, and remember that in this process; any other address stays as it is.

    What else asks for a certain file becomes a digest, so that two URLs of different files stay different.
    """
    if (shown := _strip_signature(address)) != address:
        SIGNED[shown] = address
    return shown


def _strip_signature(address: str) -> str:
    url, _, query = address.partition("?")
    if not re.match("https?://", url):
        return address
    texts = [text for text in re.split("[&;]", query) if text]
    names = [unquote(text.partition("=")[0]).lower() for text in texts]
    signing = _find_signing({name for name, text in zip(names, texts, strict=True) if "=" in text})
    secrets = [name for name in names if re.fullmatch(SECRET, name) and name not in signing]
    if not signing and not secrets:
        return address
    rest = "&".join(text for name, text in zip(names, texts, strict=True) if name not in signing)
    return f"{url}?{_digest(rest, url if secrets else '')}" if rest else url


def _find_signing(names: set[str]) -> set[str]:
    """Find the parameters that are new whenever the same file is signed."""
    patterns = [SIGNING[0], *(SIGNING[1:2] if "signature" in names else ()), *(SIGNING[2:] if "sig" in names else ())]
    return {name for name in names if any(pattern.fullmatch(name) for pattern in patterns)}


@cache
def _digest(text: str, secret_of: str) -> str:
    """Digest what asks for a file; slowly if there are secrets in it, so that nobody finds them by trying all words."""
    if not secret_of:
        return hashlib.sha256(text.encode()).hexdigest()[:8]
    return hashlib.pbkdf2_hmac("sha256", text.encode(), secret_of.encode(), 100_000).hex()[:8]


def hide_signatures(text: str) -> str:
    """Leave the signatures of all URLs out of a text, such as what a client says of one that fails."""
    return re.sub(r"https?://[^\s'\")>]+", lambda url: _strip_signature(url[0]), text)


# A path, a URL or a query. The signature of a URL is left out, so that nothing that is made of parameters has it.
Address = Annotated[
    str,
    Form(
        rf"^(?![\s\S]*(?:{PASSWORD}))[\s\S]*$",
        "must not hold a URL with a user or a password; name a connection, or give the password by the environment",
        secret=True,
        # A run that the server starts reads its parameters there, and whoever may look at it would have the signature.
        kept=rf"^(?![\s\S]*(?:{PASSWORD}|https?://[^\s#]*[?&;](?:{SECRET})=))[\s\S]*$",
    ),
    AfterValidator(hide_signature),
]
Pair = Annotated[str, Form(r"^[^=]+=[\s\S]+$", "must be FEATURE=COLUMN, such as RM=rooms")]


class Parameters(BaseModel):
    """A group of parameters: unknown names are refused, and a value once checked stays as it is.

    The text below a field is its description in the form and in the help.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Number the fields, by which Prefect's form orders them, and add the bounds to their descriptions."""
        schema = cls.model_json_schema(by_alias=False)["properties"]
        for position, (name, field) in enumerate(cls.model_fields.items()):
            field.json_schema_extra = {"position": position}
            field.description = " ".join((field.description or "").split())
            if {"minimum", "maximum"} <= schema[name].keys():
                field.description += f" From {schema[name]['minimum']:,} to {schema[name]['maximum']:,}."
        cls.model_rebuild(force=True)
