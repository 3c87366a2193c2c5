"""URIs: what people type becomes one, and what is told of one holds no key."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitoring.contract.errors import DriftloopError
from monitoring.contract.listing import DataFile
from monitoring.contract.part_reader import UNREADABLE, reason_of
from monitoring.contract.settings import Settings
from monitoring.contract.storage import Remote, list_names
from monitoring.contract.uris import shown, uri_of, without_keys
from monitoring.offline.survey import Demands, inspect
from tests.unit.object_storage import served_folder
from tests.unit.taxi import Desk, trips

NAMES = [
    "plain/a.parquet",
    "space/my file.parquet",
    "umlaut/ä.parquet",
    "colon/at=10%3A00/a.parquet",
    "pct/origin=New%20York/a.parquet",
    "hash/a#1.parquet",
    "q/a?b.parquet",
    "brackets/a[1]{2}.parquet",
    "plus/a+b&c=d@e.parquet",
]
KEYED = [
    "s3://AKIAUSER:SECRETKEY@bucket/x?OPTIONS",
    "s3://AKIAUSER:SECRET/KEY@bucket/x?OPTIONS",
    "s3://AKIAUSER:SECRET?KEY@bucket/x",
    "s3://AKIAUSER:SECRETKEY@bucket/my file.parquet?OPTIONS",
    "s3://AKIAUSER:SECRETKEY@bucket/x?regio=SECRETKEY",
    "s3n://AKIAUSER:SECRETKEY@bucket/x",
]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the options of a URI by which a server of this machine is asked."""
    with served_folder(monkeypatch) as uri:
        yield uri.partition("?")[2]


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("data/a.parquet", "data/a.parquet"),
        ("file:///data/a%20b%C3%A4.parquet", "/data/a bä.parquet"),
        ("s3://bucket/origin=New%2520York/a%231.parquet?region=eu", "s3://bucket/origin=New%20York/a#1.parquet"),
        ("s3://bucket/people@home/a", "s3://bucket/people@home/a"),
        ("hdfs://user@node:8020/a@b:c", "hdfs://node:8020/a@b:c"),
        ("hdfs://node:8020/a@b", "hdfs://node:8020/a@b"),
        ("s3://AKIA:KEY@bucket/people@home/a?x=y", "s3://bucket/people@home/a"),
        ("s3://AKIA:K/E/Y@bucket/a", "s3://bucket/a"),
    ],
)
def test_a_uri_is_told_without_keys_and_escapes(uri: str, told: str) -> None:
    assert shown(uri) == told


def test_text_without_keys_keeps_all_else() -> None:
    """Times, ports and mail addresses are no keys."""
    for text in ("see http://localhost:4200/runs, 10:00 to 11:00", "mail a@b.c: 's3://bucket/a@b' has gone"):
        assert without_keys(text) == text
    assert without_keys("at 's3://a:k@b/x y?q=1' and s3://c:k/k@d/e") == "at 's3://b/x y?q=1' and s3://d/e"


@pytest.mark.parametrize("source", KEYED)
def test_no_message_holds_a_key(desk: Desk, capsys: pytest.CaptureFixture[str], options: str, source: str) -> None:
    """Whatever is wrong with the address, of the input or of the reference, and whoever tells it."""
    source = source.replace("OPTIONS", options)
    config = ["--config", str(desk.folder / "taxi.yml")]
    runs = [desk.profile(source), desk.backtest(source), desk.profile(desk.folder, *config, "--reference", source)]
    said = capsys.readouterr()
    told = [said.out + said.err, reason_of(ValueError(source))]
    try:
        told.append(str(inspect(DataFile(source), Demands(pa.schema([]))).problem))
    except FileNotFoundError as error:
        told.append(str(error))
    try:
        told += list_names(Remote(source))
    except UNREADABLE as error:
        told.append(str(error))
    assert runs == [2, 2, 2]
    assert "bucket/" in told[0]
    assert not [text for text in told if "SECRET" in text or "KEY" in text]


def test_a_wrong_address_of_the_log_is_told_without_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", "s3a://AKIAUSER:SECRETKEY@bucket/x?y=z")
    with pytest.raises(DriftloopError, match=r"PARTS_URI = 's3a://bucket/x") as caught:
        Settings.read()
    assert "SECRET" not in str(caught.value)


@pytest.mark.timeout(120)
def test_object_storage_is_read_whatever_the_names(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a file of a folder, and by its own address; a file that is none is told by its name."""
    with served_folder(monkeypatch) as uri:
        remote = Remote(uri)
        filesystem, folder = remote.address
        where, _, options = uri.partition("?")
        rows = pa.Table.from_pandas(trips(300))
        for name in NAMES:
            pq.write_table(rows, f"{folder}/{name}", filesystem=filesystem)
            assert desk.profile(f"{where}/{name.partition('/')[0]}?{options}") == 0, name
        capsys.readouterr()
        assert desk.profile(uri) == 0
        assert f"{300 * len(NAMES):,} rows in {len(NAMES)} files" in capsys.readouterr().out
        for name in ("space/my file.parquet", "umlaut/ä.parquet", "hash/a%231.parquet", "brackets/a[1]{2}.parquet"):
            assert desk.profile(f"{where}/{name}?{options}") == 0, name
            assert desk.profile(desk.folder / "reference.parquet", "--reference", f"{where}/{name}?{options}") == 0
        with filesystem.open_output_stream(f"{folder}/q/origin=New%20York?#ä") as stream:
            stream.write(b"a,b\n1,2\n")
        capsys.readouterr()
        assert desk.profile(uri) == 2
        assert f"  {where}/q/origin=New%20York?#ä: is not a Parquet file" in capsys.readouterr().err


def test_a_path_of_this_machine_becomes_a_uri() -> None:
    assert uri_of("/data/a b#1") == "file:///data/a%20b%231"
