"""Profiles of any Parquet data set, of any size: a file, a folder, or either in object storage.

The files are divided into units, a few row groups each, and each unit becomes a profile. Profiles add up in any order,
so it does not matter who takes which: threads of this machine here, a cluster's tasks in `monitoring.offline.spark`.
"""

import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from monitoring.contract.config import Model
from monitoring.contract.listing import DatasetError, LeftOut, list_files
from monitoring.contract.part_reader import UNREADABLE, reason_of, schemas_of
from monitoring.contract.partitions import Partition, with_partition
from monitoring.contract.schemas import TIMESTAMP, number_type, probability_fields, reference_schema
from monitoring.contract.storage import named, open_parquet, place
from monitoring.contract.uris import shown
from monitoring.contract.values import narrowest
from monitoring.offline.survey import Demands, SurveyedFile, inspect_all, survey
from monitoring.profile.allocator import release_memory
from monitoring.profile.counting import profile_rows
from monitoring.profile.grid import Grid
from monitoring.profile.profile import Profile, merge
from monitoring.profile.threads import threads

UNIT_ROWS = 131_072
GIVE_BACK = 64  # units


@dataclass(frozen=True)
class Unit:
    """Some row groups of a file, by the file's URI, with what its folders' names say of the rows."""

    uri: str
    groups: tuple[int, ...]
    partition: Partition = ()

    def left_out(self, error: Exception) -> LeftOut:
        """Name the unit as one that cannot be read."""
        first, last = self.groups[0], self.groups[-1]
        which = f"row group {first}" if first == last else f"row groups {first} to {last}"
        return LeftOut(self.uri, f"{which} cannot be read: {reason_of(error)}")


@dataclass(frozen=True)
class DatasetProfile:
    """A data set's profile, and what of it could not be read or used."""

    profile: Profile
    files: int
    left_out: tuple[LeftOut, ...]
    unused: tuple[LeftOut, ...] = ()  # columns that are there and cannot be used


def demands_of(model: Model, *, skip_unreadable: bool = False, missing_columns: bool = True) -> Demands:
    """Return what a data set of a model's rows must hold; labels may come later, and columns be missing if allowed."""
    scores = [pa.field("confidence", number_type(model)), *probability_fields(model)]
    return Demands(
        due=pa.schema([*reference_schema(model), *scores, pa.field("timestamp", TIMESTAMP)]),
        any_of=model.features,
        required=() if missing_columns else (*model.features, model.prediction),
        skip_unreadable=skip_unreadable,
        text_counts=(*model.of_kind("numeric"), *(field.name for field in scores)),
        names=model.names,
    )


def stored_types(source: str, model: Model) -> dict[str, pa.DataType]:
    """Return the narrowest floating types in which the files hold the numbers; what cannot be read says nothing."""
    return narrowest(
        schemas_of(named(place(file.uri), model.names) for file in list_files(source).files), model.numbers
    )


def divide(files: Iterable[SurveyedFile]) -> Iterator[Unit]:
    """Divide files into units."""
    for file in files:
        few: list[int] = []
        for group, _ in enumerate(file.groups):
            few.append(group)
            after = file.groups[group + 1] if group + 1 < len(file.groups) else UNIT_ROWS
            if sum(file.groups[g] for g in few) + after > UNIT_ROWS:
                yield Unit(file.uri, tuple(few), file.partition)
                few = []
        if few:
            yield Unit(file.uri, tuple(few), file.partition)


def profile_unit(grid: Grid, unit: Unit, *, hashes: bool = True) -> Profile:
    """Read a unit's rows, whatever the columns' types, and profile them; raise one of UNREADABLE if that cannot be."""
    model = grid.model
    wanted = [*model.features, model.prediction, model.target, "confidence", "timestamp", *model.probability_columns]
    with open_parquet(named(place(unit.uri), model.names)) as file:
        columns = [name for name in wanted if name in file.schema_arrow.names]
        rows = file.read_row_groups(unit.groups, columns=columns, use_threads=False)
    return profile_rows(grid, with_partition(rows, unit.partition, wanted), hashes=hashes)


def try_unit(grid: Grid, unit: Unit, *, hashes: bool, skip_unreadable: bool) -> tuple[Profile, tuple[LeftOut, ...]]:
    """Profile a unit; one that cannot be read counts no rows and is named, or raises DatasetError if none may lack."""
    try:
        return profile_unit(grid, unit, hashes=hashes), ()
    except UNREADABLE as error:
        left_out = unit.left_out(error)
        if skip_unreadable:
            return Profile.empty(grid, hashes=hashes), (left_out,)
        raise DatasetError(str(left_out)) from error


def profile_locally(
    grid: Grid, source: str, *, hashes: bool = True, workers: int | None = None, demands: Demands | None = None
) -> DatasetProfile:
    """Profile a data set on all cores; each thread takes one unit after the other and keeps their sum alone."""
    demands = demands or demands_of(grid.model)
    listing = list_files(source)
    try:
        surveyed = survey(listing, inspect_all(listing.files, demands), demands)
    except FileNotFoundError as error:
        raise DatasetError(f"{shown(source)}: changes while it is read: {reason_of(error)}") from error
    units = divide(surveyed.files)
    lock = threading.Lock()
    left_out = list(surveyed.left_out)

    def add_up(_worker: int) -> Profile:
        total = Profile.empty(grid, hashes=hashes)
        for taken in range(1, 1 << 62):
            with lock:
                unit = next(units, None)
            if unit is None:
                break
            profile, unread = try_unit(grid, unit, hashes=hashes, skip_unreadable=demands.skip_unreadable)
            left_out.extend(unread)
            total += profile
            if taken % GIVE_BACK == 0:
                release_memory()
        return total

    number = workers or os.cpu_count() or 1
    with threads(number) as pool:
        profile = merge(grid, pool.map(add_up, range(number)), hashes=hashes)
    return DatasetProfile(profile, len(surveyed.files), tuple(sorted(left_out)), surveyed.unused)
