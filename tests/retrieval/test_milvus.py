import itertools
import re
import runpy
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from references import range_search_by_sorting

# The engine's package imports pkg_resources, which says at once that it is deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:pkg_resources is deprecated:UserWarning")

pytest.importorskip("pymilvus", reason='needs pymilvus: pip install "hashcenters[milvus]"')
grpc = pytest.importorskip("grpc")

from pymilvus import DataType, MilvusException  # noqa: E402

from hashcenters.retrieval import milvus  # noqa: E402
from hashcenters.retrieval.codes import pack, packed_width  # noqa: E402
from hashcenters.retrieval.milvus import MilvusHammingIndex  # noqa: E402


def random_bits(n, n_bits, seed):
    return np.random.default_rng(seed).integers(0, 2, (n, n_bits)).astype(bool)


def clustered_bits(n, n_bits, seed):
    """Bits with many ties: few different words, few of them flipped."""
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 2, (3, n_bits)).astype(bool)
    return words[rng.integers(0, 3, n)] ^ (rng.random((n, n_bits)) < 0.5 / n_bits)


def ranking_by_distance(query_bits, item_bits, ids):
    """All items of each query as pairs (distance, id), nearest first, ties by id."""
    offsets, distances, numbers = range_search_by_sorting(query_bits, item_bits, ids, query_bits.shape[1])
    pairs = list(zip(distances.tolist(), numbers.tolist(), strict=True))
    return [pairs[start:stop] for start, stop in itertools.pairwise(offsets)]


def expected_search(rankings, k, n_bits):
    filled = [(ranking + [(n_bits + 1, -1)] * k)[:k] for ranking in rankings]
    pairs = torch.tensor(filled, dtype=torch.int64).reshape(len(rankings), k, 2)
    return pairs[..., 0], pairs[..., 1]


def assert_search_equals(index, queries, rankings, k, **options):
    distances, ids = index.search(queries, k, **options)
    expected_distances, expected_ids = expected_search(rankings, k, index.n_bits)
    assert distances.dtype == ids.dtype == torch.int64
    assert torch.equal(distances, expected_distances)
    assert torch.equal(ids, expected_ids)


def assert_range_search_equals(index, queries, rankings, radius, **options):
    offsets, distances, ids = index.range_search(queries, radius, **options)
    assert offsets.dtype == distances.dtype == ids.dtype == torch.int64
    within = [[pair for pair in ranking if pair[0] <= radius] for ranking in rankings]
    assert offsets.tolist() == np.cumsum([0] + [len(pairs) for pairs in within]).tolist()
    assert list(zip(distances.tolist(), ids.tolist(), strict=True)) == [pair for pairs in within for pair in pairs]


class Fault(grpc.RpcError):
    """What grpc raises when a call fails."""

    def __init__(self, status):
        self.status = status

    def code(self):
        return self.status


class FakeClient:
    """Milvus in a few lines: a flat scan that keeps the *highest* ids where a limit cuts through ties.

    Sharing ``shelf`` shares what is stored. ``faults`` maps a method's name to the errors of its next calls; with
    ``lose_answers`` the work is done before the error comes.
    """

    def __init__(self, limit=16384):
        self.shelf = {}
        self.limit = limit
        self.faults = {}
        self.lose_answers = False
        self.calls = []
        self.is_closed = False

    def __call__(self, uri, token):
        self.calls.append(("connect", uri, token))
        return self

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if name.startswith("_") or not callable(found) or name in ("close", "create_schema", "prepare_index_params"):
            return found

        def call(*args, **options):
            assert options.pop("retry_times") == 1
            self.calls.append((name, args, options))
            faults = self.faults.get(name, [])
            if faults:
                if self.lose_answers:
                    found(*args, **options)
                raise faults.pop(0)
            return found(*args, **options)

        return call

    def close(self):
        self.is_closed = True

    def has_collection(self, name):
        return name in self.shelf

    @staticmethod
    def create_schema(auto_id, enable_dynamic_field, description):
        fields = []

        def add_field(name, datatype, is_primary=False, **params):
            fields.append({"name": name, "type": datatype, "is_primary": is_primary, "params": params})

        return SimpleNamespace(
            add_field=add_field, found={"fields": fields, "auto_id": auto_id, "description": description}
        )

    @staticmethod
    def prepare_index_params():
        made = {}
        return SimpleNamespace(made=made, add_index=lambda field, **what: made.update(field=field, **what))

    def create_collection(self, name, schema, index_params, **options):
        self.shelf[name] = {"found": schema.found, "index": index_params.made, "rows": [], "options": options}

    def describe_collection(self, name):
        return self.shelf[name]["found"]

    def list_indexes(self, name, field_name):
        return ["theirs"] if self.shelf[name]["index"] else []

    def describe_index(self, name, index):
        assert index == "theirs"
        return self.shelf[name]["index"]

    def load_collection(self, name):
        assert name in self.shelf

    def drop_collection(self, name):
        del self.shelf[name]

    def insert(self, name, rows):
        self.shelf[name]["rows"] += rows

    def upsert(self, name, rows):
        new = {row["id"] for row in rows}
        self.shelf[name]["rows"] = [row for row in self.shelf[name]["rows"] if row["id"] not in new] + rows

    def _select(self, name, expression):
        assert all(int(number) < 2**63 for number in re.findall(r"\d+", expression)), "no INT64"
        is_wanted = compile(expression or "True", "filter", "eval")
        return [row for row in self.shelf[name]["rows"] if eval(is_wanted, {}, row)]

    def query(self, name, filter, output_fields, limit=None):
        rows = self._select(name, filter)
        if output_fields == ["count(*)"]:
            return [{"count(*)": len(rows)}]
        return [{field: row[field] for field in output_fields} for row in rows[: limit or self.limit]]

    def search(self, name, data, filter, limit, anns_field, search_params):
        assert limit <= self.limit
        assert anns_field == "code"
        assert search_params["metric_type"] == "HAMMING"
        low, high = (search_params["params"].get(key) for key in ("range_filter", "radius"))
        answer = []
        for query in data:
            word, hits = int.from_bytes(query, "big"), []
            for row in self._select(name, filter):
                distance = (int.from_bytes(row["code"], "big") ^ word).bit_count()
                if (low is None or low <= distance) and (high is None or distance < high):
                    hits.append({"id": row["id"], "distance": float(distance), "entity": {}})
            answer.append(sorted(hits, key=lambda hit: (hit["distance"], -hit["id"]))[:limit])
        return answer


@pytest.fixture
def client(monkeypatch):
    fake = FakeClient()
    monkeypatch.setattr(milvus, "MilvusClient", fake)
    return fake


@pytest.fixture
def naps(monkeypatch):
    seconds = []
    monkeypatch.setattr(milvus.time, "sleep", seconds.append)
    return seconds


def fake_index(n_bits=12, **options):
    return MilvusHammingIndex("http://host:19530", "photos", n_bits, **options)


def named(client, name):
    return [call for call in client.calls if call[0] == name]


# The embedded engine


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    pytest.importorskip("milvus_lite", reason='needs milvus-lite: pip install "hashcenters[milvus]"')
    return tmp_path_factory.mktemp("milvus") / "codes.db"


N_BITS = st.one_of(st.integers(1, 130), st.sampled_from([512, 1023, 1024]))


@settings(max_examples=20)
@example(1, 80, 60, False, 0)
@example(1023, 20, 30, True, 0)
@example(1024, 20, 5, True, 1)
@given(N_BITS, st.integers(1, 90), st.integers(1, 100), st.booleans(), st.integers(0, 2**31))
def test_search_on_milvus_lite_equals_brute_force(database, n_bits, n, k, is_clustered, seed):
    bits = (clustered_bits if is_clustered else random_bits)(n + 4, n_bits, seed)
    ids = np.random.default_rng(seed).permutation(3 * n)[:n].tolist()
    rankings = ranking_by_distance(bits[n:], bits[:n], ids)
    with MilvusHammingIndex(database, "examples", n_bits, batch_size=40) as index:
        index.add(bits[:n], ids)
        assert len(index) == n
        assert_search_equals(index, bits[n:], rankings, k)
        assert_range_search_equals(index, bits[n:], rankings, seed % (n_bits + 2))
        index.drop()


def test_ties_beyond_one_answer_on_milvus_lite(database):
    """20,000 items on three words: more at one distance than the engine returns at once."""
    n = 20_000
    bits = np.zeros((n, 9), dtype=bool)
    bits[::1000] = True
    bits[1::1000, 0] = True
    rankings = [sorted(zip((bits != query).sum(1).tolist(), range(n), strict=True)) for query in bits[:2]]
    order = np.random.default_rng(0).permutation(n)  # stored otherwise than by id
    with MilvusHammingIndex(database, "ties", 9) as index:
        index.add(bits[order], order)
        assert_search_equals(index, bits[:2], rankings, 16_384)
        assert_search_equals(index, bits[:2], rankings, 50)
        assert_range_search_equals(index, bits[:2], rankings, 9)
        index.drop()


def test_fields_filters_and_metadata_on_milvus_lite(database):
    bits = random_bits(60, 20, 0)
    fields = {"label": int, "path": str, "score": float, "is_new": bool}
    columns = {
        "label": torch.arange(60) % 5,
        "path": [f"{i} \"quoted\" 'ü'" for i in range(60)],
        "score": np.linspace(0, 1, 60),
        "is_new": np.arange(60) % 2 == 0,
    }
    with MilvusHammingIndex(database, "fields", 20, fields=fields) as index:
        index.add(bits, metadata=columns)
        chosen = [i for i in range(60) if i % 5 == 3 and i % 2 == 0]
        rankings = ranking_by_distance(bits[:4], bits[chosen], chosen)
        assert_search_equals(index, bits[:4], rankings, 10, filter="label == 3 and is_new == true")
        assert_range_search_equals(index, bits[:4], rankings, 9, filter="label == 3 and is_new == true")
        assert_search_equals(index, bits[:4], [[]] * 4, 2, filter="label == 7")
        found = index.metadata(torch.tensor([7, 3, 7]))
        assert found == {name: [list(columns[name])[i] for i in (7, 3, 7)] for name in fields}
        with pytest.raises(MilvusException, match="nothing"):
            index.search(bits[:1], 1, filter="nothing == 3")
    with MilvusHammingIndex(database, "fields", 20) as index:  # what was written is there when it is opened again
        assert index.fields == fields
        assert index.index_type == "BIN_FLAT"
        assert len(index) == 60
        index.drop()
    with MilvusHammingIndex(database, "fields", 24) as index:
        assert len(index) == 0
        index.drop()


def test_a_collection_that_does_not_fit_is_refused_on_milvus_lite(database):
    with MilvusHammingIndex(database, "fit", 60, fields={"label": int}) as index:
        with pytest.raises(ValueError, match="'fit' holds codes of n_bits=60, not 64; take another name, or drop"):
            MilvusHammingIndex(database, "fit", 64)
        with pytest.raises(ValueError, match=r"has the fields \{label: int\}, not \{label: str\}"):
            MilvusHammingIndex(database, "fit", 60, fields={"label": str})
        with pytest.raises(ValueError, match=r"has the fields \{label: int\}, not \{\}"):
            MilvusHammingIndex(database, "fit", 60, fields={})
        index.drop()


def test_ids_on_milvus_lite(database):
    bits = random_bits(12, 8, 1)
    with MilvusHammingIndex(database, "ids", 8) as index:
        index.add(bits[:0])
        assert len(index) == 0
        index.add(bits[:3])
        index.add(bits[3:5], [900, 40])
        index.add(bits[5:7])
        assert sorted(index.range_search(bits[:1], 8).ids.tolist()) == [0, 1, 2, 40, 900, 901, 902]
        with pytest.raises(ValueError, match="ids must be new, but 'ids' has 901 already"):
            index.add(bits[:2], np.array([55, 901]))
        assert len(index) == 7
    with MilvusHammingIndex(database, "ids", 8) as index:
        index.add(bits[7:8])
        index.add(bits[8:9], [2**63 - 2])
        index.add(bits[9:10])
        assert sorted(index.range_search(bits[:1], 8).ids.tolist())[-3:] == [903, 2**63 - 2, 2**63 - 1]
        with pytest.raises(ValueError, match=r"ids must be passed here: behind the largest id of 'ids', 9223372036854"):
            index.add(bits[10:])
        index.drop()


# Everything else, with the client replaced


@pytest.mark.parametrize("limit", [2, 3, 5, 16])
@pytest.mark.parametrize("seed", range(3))
def test_ties_are_complete_whatever_the_engine_leaves_out(client, monkeypatch, limit, seed):
    monkeypatch.setattr(milvus, "_ENGINE_LIMIT", limit)
    client.limit = limit
    bits = clustered_bits(63, 12, seed)
    ids = np.random.default_rng(seed).permutation(1000)[:60].tolist()
    rankings = ranking_by_distance(bits[60:], bits[:60], ids)
    monkeypatch.setattr(milvus, "_IDS_A_LOOKUP", limit)
    index = fake_index()
    index.add(bits[:60], ids)
    even = [[pair for pair in ranking if pair[1] % 2 == 0] for ranking in rankings]
    for k in range(1, limit + 1):
        assert_search_equals(index, bits[60:], rankings, k)
        assert_search_equals(index, bits[60:], even, k, filter="id % 2 == 0 or id == -1")
    for radius in (0, 1, 4, 12, 2000):
        assert_range_search_equals(index, bits[60:], rankings, radius)
        assert_range_search_equals(index, bits[60:], even, radius, filter="id % 2 == 0 or id == -1")
    assert_search_equals(index, bits[:0], [], 1)
    assert_range_search_equals(index, bits[:0], [], 1)


def test_many_queries_are_split_into_requests(client, monkeypatch):
    bits = random_bits(41, 12, 0)
    index = fake_index()
    index.add(bits)
    monkeypatch.setattr(milvus, "_HITS_A_REQUEST", 200)
    assert_search_equals(index, bits, ranking_by_distance(bits, bits, range(41)), 3)
    assert {len(call[2]["data"]) for call in named(client, "search")} == {200 // 70, 1}


def test_codes_come_in_any_form(client):
    bits = random_bits(9, 12, 0)
    signs = torch.from_numpy(bits).float() * 2 - 1
    for form in (bits, torch.from_numpy(bits), signs, signs.numpy(), pack(signs), pack(signs).numpy()):
        index = fake_index()
        index.add(form)
        assert_search_equals(index, form, ranking_by_distance(bits, bits, range(9)), 4)
        index.drop()


def test_a_new_collection_has_the_layout_that_was_asked_for(client):
    fake_index(13, fields={"label": int, "path": str}, index_type="BIN_IVF_FLAT", n_lists=77, n_shards=4, token="a:b")
    assert client.calls[0] == ("connect", "http://host:19530", "a:b")
    shelf = client.shelf["photos"]
    assert shelf["options"] == {"num_shards": 4, "consistency_level": "Strong"}
    assert shelf["index"] == {
        "field": "code", "index_type": "BIN_IVF_FLAT", "metric_type": "HAMMING", "params": {"nlist": 77}
    }  # fmt: skip
    types = {field["name"]: (field["type"], field["params"]) for field in shelf["found"]["fields"]}
    assert types["id"] == (DataType.INT64, {})
    assert types["code"] == (DataType.BINARY_VECTOR, {"dim": 16})
    assert types["label"] == (DataType.INT64, {})
    assert types["path"] == (DataType.VARCHAR, {"max_length": 65535})


def test_ivf_is_searched_with_n_probes(client):
    index = fake_index(index_type="BIN_IVF_FLAT", n_probes=5)
    index.add(random_bits(3, 12, 0))
    index.search(random_bits(1, 12, 1), 1)
    index.range_search(random_bits(1, 12, 1), 4)
    near, within = [call[2]["search_params"]["params"] for call in named(client, "search")]
    assert near == {"nprobe": 5}
    assert within == {"nprobe": 5, "range_filter": 0, "radius": 5}
    assert fake_index().index_type == "BIN_IVF_FLAT"
    with pytest.raises(ValueError, match="has an index of type BIN_IVF_FLAT, not BIN_FLAT"):
        fake_index(index_type="BIN_FLAT")


def test_inserts_come_in_batches_with_a_bar(client, capsys):
    index = fake_index(fields={"label": int}, batch_size=4)
    bits = random_bits(10, 12, 0)
    index.add(bits, metadata={"label": range(10)})
    assert capsys.readouterr().err == ""
    index.add(bits, metadata={"label": range(10)}, progress=True)
    assert "10.0/10.0" in capsys.readouterr().err
    batches = [call[1][1] for call in named(client, "insert")]
    assert [len(batch) for batch in batches] == [4, 4, 2, 4, 4, 2]
    assert batches[1][0] == {"id": 4, "code": np.packbits(bits[4]).tobytes(), "label": 4}
    assert batches[3][0]["id"] == 10


TRANSIENT = [
    Fault(grpc.StatusCode.UNAVAILABLE),
    Fault(grpc.StatusCode.DEADLINE_EXCEEDED),
    Fault(grpc.StatusCode.RESOURCE_EXHAUSTED),
    MilvusException(grpc.StatusCode.UNAVAILABLE, "Retry run out of 1 retry times"),
    MilvusException(8, "rate limit"),
]
PERMANENT = [
    Fault(grpc.StatusCode.UNAUTHENTICATED),
    Fault(grpc.StatusCode.UNKNOWN),
    MilvusException(1100, "invalid parameter"),
    MilvusException(grpc.StatusCode.UNKNOWN, "Unexpected error in RPC handling"),
]


@pytest.mark.parametrize("fault", TRANSIENT, ids=repr)
def test_transient_errors_are_waited_out(client, naps, fault):
    index = fake_index(retries=3, backoff=0.5)
    bits = random_bits(5, 12, 0)
    client.faults = {"insert": [fault], "search": [fault, fault, fault], "query": [fault]}
    index.add(bits)
    assert naps == [0.5, 0.5]  # for the largest id, and for the insert
    assert_search_equals(index, bits, ranking_by_distance(bits, bits, range(5)), 2)
    assert naps[2:] == [0.5, 1.0, 2.0]


def test_what_the_server_calls_retriable_is_waited_out(client, naps):
    fault = MilvusException(503, "not ready")
    fault._retriable = True
    if not getattr(fault, "retriable", False):
        pytest.skip("this pymilvus does not say what is retriable")
    client.faults = {"has_collection": [fault]}
    fake_index()
    assert naps == [0.5]


@pytest.mark.parametrize("fault", PERMANENT, ids=repr)
def test_other_errors_are_raised_at_once(client, naps, fault):
    index = fake_index()
    client.faults = {"insert": [fault]}
    with pytest.raises(type(fault)) as caught:
        index.add(random_bits(5, 12, 0))
    assert caught.value is fault
    assert naps == []
    assert len(named(client, "insert")) == 1


def test_a_failure_for_good_says_where_to_go_on(client, naps):
    index = fake_index(batch_size=2)
    bits = random_bits(7, 12, 0)
    index.add(bits[:2])
    fault = PERMANENT[0]
    original, calls = client.insert, []

    def insert(name, rows):
        calls.append(rows)
        if len(calls) == 3:
            raise fault
        return original(name, rows, retry_times=1)

    index._client = SimpleNamespace(**{name: getattr(client, name) for name in ("query", "upsert")}, insert=None)
    index._client.insert = lambda name, rows, **options: insert(name, rows)
    with pytest.raises(type(fault)) as caught:
        index.add(bits[2:])
    told = " ".join([*map(str, getattr(caught.value, "__notes__", [])), *map(str, caught.value.args)])
    assert "4 of 5 codes are stored; go on with add(codes[4:], ids=...), the first of which was to get the id 6" in told
    assert len(client.shelf["photos"]["rows"]) == 6


def test_patience_ends(client, naps):
    index = fake_index(retries=9, backoff=1.0)
    client.faults = {"insert": [Fault(grpc.StatusCode.UNAVAILABLE)] * 10, "upsert": []}
    client.faults["upsert"] = client.faults["insert"]
    with pytest.raises(Fault):
        index.add(random_bits(5, 12, 0))
    assert naps == [1, 2, 4, 8, 16, 30, 30, 30, 30]
    client.faults = {"query": [Fault(grpc.StatusCode.UNAVAILABLE)]}
    index = fake_index(retries=0)
    with pytest.raises(Fault):
        len(index)


def test_an_insert_whose_answer_was_lost_stores_nothing_twice(client, naps):
    index = fake_index(batch_size=2)
    client.faults = {"insert": [Fault(grpc.StatusCode.DEADLINE_EXCEEDED)]}
    client.lose_answers = True
    index.add(random_bits(5, 12, 0))
    assert sorted(row["id"] for row in client.shelf["photos"]["rows"]) == [0, 1, 2, 3, 4]
    assert [call[0] for call in client.calls if call[0] in ("insert", "upsert")] == ["insert", "upsert"] + 2 * [
        "insert"
    ]


def test_first_free_id_is_found_from_any_state(client):
    rng = np.random.default_rng(0)
    for _ in range(200):
        ids = np.unique(rng.integers(0, 2 ** rng.integers(1, 63), rng.integers(0, 6)))
        client.shelf = {}
        index = fake_index()
        index.add(random_bits(len(ids), 12, 0), rng.permutation(ids))
        expected = int(ids.max()) + 1 if len(ids) else 0
        assert index._first_free() == expected
        index.add(random_bits(2, 12, 0))
        assert max(row["id"] for row in client.shelf["photos"]["rows"]) == expected + 1
        n_queries = len(named(client, "query"))
        assert index._first_free() == expected + 2
        assert len(named(client, "query")) == n_queries + 1  # what it wrote itself it need not look for


def test_closing(client):
    with fake_index(fields={"label": int}) as index:
        assert repr(index) == (
            "MilvusHammingIndex('http://host:19530', 'photos', n_bits=12, fields={label: int}, index_type='BIN_FLAT')"
        )
        assert not client.is_closed
    assert client.is_closed
    client.is_closed = False
    with pytest.raises(ValueError, match="n_bits"):
        fake_index(11)
    assert client.is_closed  # a refused collection leaves no connection


def test_a_foreign_collection_is_opened_only_if_it_fits(client):
    index = fake_index(16)
    found = client.shelf["photos"]["found"]
    found["description"] = "theirs"
    assert len(fake_index(16)) == len(index) == 0
    with pytest.raises(ValueError, match="holds codes of n_bits=16, not 12"):
        fake_index(12)
    for change in ({"auto_id": True}, {"fields": found["fields"][:1]}, {"fields": found["fields"][1:]}):
        client.shelf["photos"]["found"] = {**found, **change}
        with pytest.raises(ValueError, match="'photos' has no INT64 primary field 'id' without auto_id beside"):
            fake_index(16)
    odd = {"name": "box", "type": DataType.JSON, "params": {}}
    client.shelf["photos"]["found"] = {**found, "fields": [*found["fields"], odd]}
    with pytest.raises(ValueError, match=r"fields of types that are not int, float, bool or str: \{box: object\}"):
        fake_index(16)
    client.shelf["photos"]["found"] = found
    client.shelf["photos"]["index"]["metric_type"] = "JACCARD"
    with pytest.raises(ValueError, match="is indexed by the metric JACCARD, not HAMMING"):
        fake_index(16)
    client.shelf["photos"]["index"] = {}
    with pytest.raises(ValueError, match="is indexed by the metric None, not HAMMING"):
        fake_index(16)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_bits": 0}, ValueError, "n_bits must be at least 1"),
        ({"n_bits": 1025}, ValueError, "n_bits must be at most 1024, got 1025"),
        ({"n_bits": 8.0}, TypeError, "n_bits must be an int"),
        ({"uri": "codes.sqlite"}, ValueError, "uri must be a file that ends in \".db\" .* got 'codes.sqlite'"),
        ({"collection": "my-codes"}, ValueError, "collection must consist of letters, digits .* got 'my-codes'"),
        ({"collection": 3}, ValueError, "collection must consist of letters, digits .* got 3"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"n_probes": 0}, ValueError, "n_probes must be at least 1"),
        ({"n_lists": 0}, ValueError, "n_lists must be at least 1"),
        ({"n_shards": 0}, ValueError, "n_shards must be at least 1"),
        ({"retries": -1}, ValueError, "retries must be at least 0"),
        ({"backoff": -1.0}, ValueError, "backoff must be at least 0 seconds, got -1.0"),
        ({"backoff": float("nan")}, ValueError, "backoff must be at least 0 seconds, got nan"),
        ({"index_type": "HNSW"}, ValueError, 'index_type must be "BIN_FLAT", "BIN_IVF_FLAT" or None, got \'HNSW\''),
        ({"uri": "a.db", "index_type": "BIN_IVF_FLAT"}, ValueError, "needs a cluster: the embedded engine scans flat"),
        ({"fields": {"a b": int}}, ValueError, "a name in fields must consist of letters, digits .* got 'a b'"),
        ({"fields": {"id": int}}, ValueError, "fields must not have the name 'id'"),
        ({"fields": {"code": str}}, ValueError, "fields must not have the name 'code'"),
        ({"fields": {"box": list}}, TypeError, "fields must map names to int, float, bool or str, got 'box': <class"),
    ],
)
def test_bad_options_are_refused_before_a_connection(client, options, error, message):
    given_options = {"uri": "http://host:19530", "collection": "photos", "n_bits": 8, **options}
    with pytest.raises(error, match=message):
        MilvusHammingIndex(**given_options)
    assert client.calls == []


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        ([0.0, 1.0], TypeError, "ids must be integers, got float64"),
        ([True, False], TypeError, "ids must be integers, got bool"),
        (torch.zeros(2, 1, dtype=torch.int64), ValueError, r"ids must have shape \(n,\), got \(2, 1\)"),
        ([1, -1], ValueError, r"ids must be 0 to 2\*\*63 - 1, got -1 to 1"),
        (np.array([1, 2**63], np.uint64), ValueError, r"ids must be 0 to 2\*\*63 - 1, got 1 to 9223372036854775808"),
        ([1], ValueError, "ids must be one a code, 2, got 1"),
        ([5, 5], ValueError, "ids must be unique, got 5 more than once"),
    ],
)
def test_bad_ids_are_refused(client, ids, error, message):
    index = fake_index()
    with pytest.raises(error, match=message):
        index.add(random_bits(2, 12, 0), ids)
    assert named(client, "insert") == []


@pytest.mark.parametrize(
    ("metadata", "error", "message"),
    [
        (None, ValueError, r"metadata must have the fields \['label', 'path', 'score'\], got \[\]"),
        ({"label": [1, 2]}, ValueError, r"metadata must have the fields .*, got \['label'\]"),
        ({"label": [1]}, ValueError, "metadata 'label' must have one value a code, 2, got 1"),
        ({"label": [1, 2.0]}, TypeError, "metadata 'label' must be of type int, got 2.0 at 1"),
        ({"label": [True, 2]}, TypeError, "metadata 'label' must be of type int, got True at 0"),
        ({"label": [2**63, 2]}, ValueError, "metadata 'label' must fit into 64 bits, got 9223372036854775808 at 0"),
        ({"path": ["a", b"b"]}, TypeError, "metadata 'path' must be of type str, got b'b' at 1"),
        (
            {"path": ["a", "ü" * 32768]},
            ValueError,
            "metadata 'path' must be texts of at most 65535 bytes, got 65536 at",
        ),
        ({"score": ["1", 2]}, TypeError, "metadata 'score' must be of type float, got '1' at 0"),
    ],
)
def test_bad_metadata_is_refused(client, metadata, error, message):
    index = fake_index(fields={"label": int, "path": str, "score": float})
    good = {"label": [1, 2], "path": ["a", "b"], "score": [0.5, 1]}
    if metadata is not None and "got ['label']" not in message.replace("\\", ""):
        metadata = {**good, **metadata}
    with pytest.raises(error, match=message):
        index.add(random_bits(2, 12, 0), metadata=metadata)
    assert client.shelf["photos"]["rows"] == []
    index.add(random_bits(2, 12, 0), metadata={**good, "label": list(np.arange(2)), "score": list(np.ones(2, "f4"))})
    assert client.shelf["photos"]["rows"][1]["score"] == 1.0


def test_bad_queries_are_refused(client):
    index = fake_index()
    query = random_bits(1, 12, 0)
    with pytest.raises(ValueError, match="the collection 'photos' is empty; add codes before searching"):
        index.search(query, 1)
    with pytest.raises(ValueError, match="the collection 'photos' is empty; add codes before searching"):
        index.range_search(query, 12)
    index.add(~query)
    assert index.range_search(query, 11).ids.tolist() == []
    with pytest.raises(
        ValueError, match="k must be at most 16384, the most hits that Milvus returns a query, got 16385"
    ):
        index.search(query, 16385)
    with pytest.raises(ValueError, match="k must be at least 1"):
        index.search(query, 0)
    with pytest.raises(ValueError, match="radius must be at least 0"):
        index.range_search(query, -1)
    with pytest.raises(TypeError, match="filter must be a string or None, got int"):
        index.search(query, 1, filter=3)
    with pytest.raises(ValueError, match="filter must be an expression, got an empty one; pass None"):
        index.range_search(query, 1, filter=" ")
    with pytest.raises(ValueError, match="codes of dtype bool must have shape"):
        index.search(random_bits(1, 13, 0), 1)
    with pytest.raises(ValueError, match="ids must be ids of the collection 'photos'; it has no 4"):
        index.metadata([0, 4])
    assert index.metadata([]) == {}
    assert packed_width(12) == len(client.shelf["photos"]["rows"][0]["code"])


def test_missing_pymilvus_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(ImportError, match=r'this index needs pymilvus: pip install "hashcenters\[milvus\]"'):
        runpy.run_path(milvus.__file__)
