"""Parents and children: what the end, the loss, the cancel and the removal of one means for the other."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy.exc import IntegrityError

from jobs.errors import Conflict, NotFound
from jobs.store import ArtifactFile, BlobStore, Filter

LEASE = 10


@pytest.fixture
def family(jobs, new_job):
    """Makes a parent with so many children; gives its id and theirs, in their order."""

    def make(number: int, **changes: object) -> tuple[str, list[str]]:
        children = [new_job(kind="child", parameters={"n": index}, **changes) for index in range(number)]
        parent, _ = jobs.create(new_job(kind="parent", children=children, **changes))
        return parent.id, [child.id for child in jobs.children(parent.id)]

    return make


@pytest.fixture
def take(jobs):
    def claim(job_id: str) -> str:
        return jobs.claim(job_id, lease_seconds=LEASE).lease_token

    return claim


@pytest.fixture
def succeed(jobs, take):
    def run(job_id: str) -> None:
        assert jobs.succeed(job_id, take(job_id), body=f'{{"of": "{job_id}"}}', etag="e", measurements=[])

    return run


def standing(jobs, job_id: str) -> tuple[object, ...]:
    job = jobs.get(job_id)
    return job.status, job.pending_children, job.phase, job.current, job.total


def test_a_family_is_made_together_with_the_labels_of_the_parent(jobs, family) -> None:
    parent, children = family(3, run="r", tags=["a", "b"])
    assert standing(jobs, parent) == ("queued", 3, "children", 0, 3)
    rows = jobs.children(parent)
    assert [(row.parent_id, row.child_index, row.parameters["n"]) for row in rows] == [(parent, n, n) for n in range(3)]
    assert {(row.status, row.run, tuple(row.tags), row.pending_children) for row in rows} == {
        ("queued", "r", ("a", "b"), 0)
    }
    assert {job.id for job in jobs.list(Filter(parent=parent), limit=10)} == set(children)
    assert len(jobs.list(Filter(tag="b"), limit=10)) == 4
    assert jobs.children(children[0]) == []


def test_nothing_is_made_if_a_child_cannot_be(jobs, new_job) -> None:
    good, bad = new_job(), new_job(idempotency_key="taken")
    jobs.create(bad)
    with pytest.raises(IntegrityError):
        jobs.create(new_job(children=[good, bad]))
    assert len(jobs.list(Filter(), limit=10)) == 1


def test_the_same_key_gives_the_same_family(jobs, new_job) -> None:
    new = new_job(children=[new_job(), new_job()], idempotency_key="k", idempotency_fingerprint="f")
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: jobs.create(new), range(12)))
    assert len({job.id for job, _ in made}) == 1
    assert len(jobs.list(Filter(), limit=100)) == 3


def test_a_parent_cannot_be_claimed_before_its_children_have_ended(jobs, repair, family, succeed, clock) -> None:
    parent, children = family(2)
    clock.move(100)
    assert set(repair.perhaps_unsent(older_than_seconds=5)) == set(children)
    for number, child in enumerate(children):
        assert jobs.claim(parent, lease_seconds=LEASE) is None
        succeed(child)
        assert standing(jobs, parent)[1:] == (1 - number, "children", 1 + number, 2)
    assert list(repair.perhaps_unsent(older_than_seconds=5)) == [parent]
    claimed = jobs.claim(parent, lease_seconds=LEASE)
    assert (claimed.status, claimed.attempts, claimed.parent_id) == ("running", 1, None)


def test_a_parent_runs_from_its_first_child_on_and_is_not_taken_for_lost(jobs, repair, family, take, clock) -> None:
    parent, children = family(2)
    began = clock.now
    take(children[0])
    running = jobs.get(parent)
    assert (running.status, running.lease_token, running.started_at) == ("running", None, began)
    clock.move(10 * LEASE)
    expired = repair.expire_leases(max_attempts=3)
    assert (list(expired.requeued), list(expired.failed), list(expired.cancelled)) == ([children[0]], [], [])
    take(children[0])
    assert (jobs.get(parent).status, jobs.get(parent).started_at) == ("running", began)


def test_every_way_to_end_counts(jobs, repair, family, take, succeed, clock) -> None:
    parent, children = family(6)
    succeed(children[0])
    assert jobs.fail(children[1], take(children[1]), code="c", detail="d")
    jobs.request_cancel(children[2])  # queued: at once
    token = take(children[3])
    jobs.request_cancel(children[3])
    assert jobs.get(parent).pending_children == 3
    assert jobs.confirm_cancel(children[3], token)
    take(children[4])
    clock.move(LEASE + 1)
    assert list(repair.expire_leases(max_attempts=1).failed) == [children[4]]
    take(children[5])
    jobs.request_cancel(children[5])
    clock.move(LEASE + 1)
    assert jobs.get(parent).status == "running"
    assert list(repair.expire_leases(max_attempts=1).cancelled) == [children[5]]
    assert standing(jobs, parent) == ("queued", 0, "children", 6, 6)
    assert jobs.children_by_status([parent]) == {parent: {"succeeded": 1, "failed": 2, "cancelled": 3}}
    assert list(repair.perhaps_unsent(older_than_seconds=60)) == [parent]  # the sweep sends it at once


def test_several_children_lost_at_once_count_each(jobs, repair, family, take, clock) -> None:
    parents = [family(3) for _ in range(2)]
    for _, children in parents:
        for child in children:
            take(child)
    clock.move(LEASE + 1)
    assert len(repair.expire_leases(max_attempts=1).failed) == 6
    assert {standing(jobs, parent)[:2] for parent, _ in parents} == {("queued", 0)}


def test_a_child_that_goes_back_does_not_count(jobs, family, take, succeed) -> None:
    parent, (child,) = family(1)
    seen = jobs.get(parent).version
    assert jobs.release(child, take(child))
    assert standing(jobs, parent)[:2] == ("running", 1)
    assert jobs.get(parent).version > seen + 1  # its view tells how its children stand
    succeed(child)
    assert standing(jobs, parent)[:2] == ("queued", 0)


@pytest.mark.parametrize("way", ["succeed", "fail", "cancel", "mixed"])
def test_children_that_end_at_once_are_all_counted(jobs, family, take, way) -> None:
    parent, children = family(24)
    tokens = {child: take(child) for child in children}

    def end(index: int) -> None:
        child, token = children[index], tokens[children[index]]
        how = ("succeed", "fail", "cancel")[index % 3] if way == "mixed" else way
        if how == "succeed":
            assert jobs.succeed(child, token, body="{}", etag="e", measurements=[])
        elif how == "fail":
            assert jobs.fail(child, token, code="c", detail="d")
        else:
            jobs.request_cancel(child)
            assert jobs.confirm_cancel(child, token)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(end, range(24)))
    assert standing(jobs, parent) == ("queued", 0, "children", 24, 24)
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda _: jobs.claim(parent, lease_seconds=LEASE), range(16)))
    assert sum(claim is not None for claim in claims) == 1


def test_a_cancel_reaches_all_children(jobs, family, take, succeed) -> None:
    parent, children = family(5)
    succeed(children[0])
    token = take(children[1])
    cancelled = jobs.request_cancel(parent)
    assert (cancelled.status, cancelled.pending_children, cancelled.current) == ("running", 1, 4)
    assert [jobs.get(child).status for child in children] == ["succeeded", "running", *["cancelled"] * 3]
    assert jobs.renew(children[1], token, lease_seconds=LEASE).cancel_requested_at is not None
    assert jobs.request_cancel(parent).status == "running"  # again: nothing new
    assert jobs.confirm_cancel(children[1], token)
    ended = jobs.get(parent)
    assert (ended.status, ended.pending_children, ended.finished_at is not None) == ("cancelled", 0, True)
    with pytest.raises(Conflict, match="already"):
        jobs.request_cancel(parent)
    with pytest.raises(NotFound, match="cancelled"):
        jobs.report(parent)


def test_a_child_that_finishes_nevertheless_ends_its_cancelled_parent(jobs, family, take) -> None:
    parent, (child,) = family(1)
    token = take(child)
    jobs.request_cancel(parent)
    assert jobs.succeed(child, token, body="{}", etag="e", measurements=[])
    assert jobs.get(parent).status == "cancelled"


def test_a_family_that_nobody_has_begun_is_cancelled_at_once(jobs, family) -> None:
    parent, children = family(4)
    assert jobs.request_cancel(parent).status == "cancelled"
    assert {jobs.get(child).status for child in children} == {"cancelled"}
    assert all(jobs.claim(child, lease_seconds=LEASE) is None for child in children)


def test_a_parent_that_waits_for_a_worker_is_cancelled_at_once(jobs, family, succeed) -> None:
    parent, (child,) = family(1)
    succeed(child)
    assert jobs.request_cancel(parent).status == "cancelled"
    assert jobs.get(child).status == "succeeded"


def test_cancels_of_children_alone_leave_the_parent_its_work(jobs, family) -> None:
    parent, children = family(2)
    for child in children:
        jobs.request_cancel(child)
    assert standing(jobs, parent)[:2] == ("queued", 0)
    assert jobs.claim(parent, lease_seconds=LEASE) is not None


@pytest.mark.parametrize("seed", range(4))
def test_claims_ends_and_a_cancel_at_once_leave_no_loose_end(jobs, repair, family, seed) -> None:
    """Whatever comes first: in the end no child is unfinished, and the parent has counted each once."""
    parent, children = family(12)

    def work(child: str) -> None:
        claimed = jobs.claim(child, lease_seconds=LEASE)
        if claimed is not None:
            assert jobs.succeed(child, claimed.lease_token, body="{}", etag="e", measurements=[])

    def disturb(number: int) -> None:
        if number == 0:
            jobs.request_cancel(parent)
        repair.expire_leases(max_attempts=3)

    with ThreadPoolExecutor(10) as pool:
        ends = [pool.submit(work, child) for child in children[:seed]]
        disturbances = [pool.submit(disturb, number) for number in range(3)]
        ends += [pool.submit(work, child) for child in children[seed:]]
        for future in (*ends, *disturbances):
            error = future.exception()
            assert error is None or (isinstance(error, Conflict) and error.code == "job_already_finished")
    counts = Counter(jobs.get(child).status for child in children)
    assert sum(counts[status] for status in ("succeeded", "cancelled")) == 12
    ended = jobs.get(parent)
    assert (ended.status, ended.pending_children, ended.current) == ("cancelled", 0, 12)


def test_what_fails_between_leaves_child_and_parent_as_they_were(database, jobs, family, take) -> None:
    parent, (child,) = family(1)
    token = take(child)
    BlobStore(database).claim(["0" * 64])
    twice = [ArtifactFile(name="a", sha256="0" * 64, size_bytes=1, media_type="text/csv")] * 2
    with pytest.raises(IntegrityError):
        jobs.succeed(child, token, body="{}", etag="e", measurements=[], artifacts=twice)
    assert jobs.get(child).status == "running"
    assert standing(jobs, parent)[:2] == ("running", 1)
    assert jobs.succeed(child, token, body="{}", etag="e", measurements=[], artifacts=twice[:1])
    assert standing(jobs, parent)[:2] == ("queued", 0)


def test_a_parent_whose_worker_was_lost_is_taken_up_again(jobs, repair, family, take, succeed, clock) -> None:
    parent, (child,) = family(1)
    succeed(child)
    take(parent)
    clock.move(LEASE + 1)
    assert list(repair.expire_leases(max_attempts=3).requeued) == [parent]
    succeed(parent)
    done = jobs.get(parent)
    assert (done.status, done.attempts) == ("succeeded", 2)


def test_a_parent_takes_its_children_with_it_and_no_child_goes_before_it_has_ended(jobs, family, succeed) -> None:
    parent, children = family(2)
    other, _ = family(1)
    succeed(children[0])
    with pytest.raises(Conflict, match=parent) as refused:
        jobs.delete(children[0])
    assert refused.value.code == "parent_not_finished"
    with pytest.raises(Conflict, match="Cancel it first"):
        jobs.delete(parent)
    succeed(children[1])
    succeed(parent)
    jobs.delete(children[0])
    jobs.delete(parent)
    assert {job.id for job in jobs.list(Filter(kind="parent"), limit=10)} == {other}
    assert len(jobs.list(Filter(), limit=10)) == 2
