"""How training images reach the device: chunks of steps, each one dispatch, and their data."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cvae_jax.data import batches
from cvae_jax.data.datasets import Dataset
from cvae_jax.data.readers.file_rows import FileRows
from cvae_jax.runtime import devices, processes

# Streamed chunks stay below this: two of them lie on the device beside the model.
MAX_STREAMED_BYTES = 1 << 28
PREFETCHED_CHUNKS = READ_THREADS = 2  # ready on the host


class Chunk(NamedTuple):
  """Steps `begin` to `end`, and the data that `Feed.pick` takes their batches from."""

  begin: int
  end: int
  data: Any


class Feed(NamedTuple):
  """Where the batches of a run come from; see `make_feed`."""

  # (bounds, order) -> chunks, for bounds that do not cross the end of an epoch and an order that
  # gives each epoch's [steps, batch] row numbers.
  chunks: Callable[[Iterable[tuple[int, int]], Callable[[int], Array]], Iterator[Chunk]]
  # (a chunk's data, step) -> images uint8 [B, H, W, C] and conditions [B, ...], inside the compiled
  # step.
  pick: Callable[[Any, Array], tuple[Array, Array]]
  # For each element of a chunk's data: 0 if every run has its own, None if runs share it.
  axes: tuple[int | None, ...]
  longest: int  # steps in one chunk
  placement: str  # 'device' or 'stream'


def bounds(
  begin: int, total_steps: int, steps_per_epoch: int, checkpoint_every_steps: int, longest: int
) -> Iterator[tuple[int, int]]:
  """The chunks from step `begin` to the end of the run, at most `longest` steps each.

  They end at fixed steps of the run, wherever it was resumed: at the ends of epochs and where a
  checkpoint is due. Chunks of other lengths are other programs, which differ in the last bits, so
  a resumed run must take the same ones.
  """
  while begin < total_steps:
    end = _next_end(begin, steps_per_epoch, checkpoint_every_steps, longest)
    yield begin, end
    begin = end


def _next_end(now: int, steps_per_epoch: int, checkpoint_every_steps: int, longest: int) -> int:
  epoch_end = (now // steps_per_epoch + 1) * steps_per_epoch
  if not checkpoint_every_steps:
    into_epoch = now % steps_per_epoch
    return min(epoch_end, now - into_epoch + (into_epoch // longest + 1) * longest)
  due = min(epoch_end, (now // checkpoint_every_steps + 1) * checkpoint_every_steps)
  # Powers of two: there are many distances, and each length is a program to compile.
  return now + 2 ** (min(due - now, longest).bit_length() - 1)


def make_feed(
  config, train: Dataset, validation: Dataset, mesh: Mesh
) -> tuple[Feed, Dataset, Dataset]:
  """Lays the images out as `config.data.placement` says.

  Args:
    config: a checked config.
    train: the training images.
    validation: the validation images; they go where the training images go.
    mesh: the devices over which each batch is split.

  Returns:
    The feed, and both datasets: on the device, unless they are streamed.
  """
  steps_per_epoch = batches.steps_per_epoch(len(train.labels), config.batch_size)
  placement = config.data.placement
  if placement == 'auto':
    placement = _choose_placement(train, validation)
  if placement == 'stream':
    return streamed(train, steps_per_epoch, config.batch_size, mesh), train, validation
  train, validation = (_on_every_device(dataset, mesh) for dataset in (train, validation))
  return on_device(train.images, train.conditions, steps_per_epoch, mesh), train, validation


def _on_every_device(dataset: Dataset, mesh: Mesh) -> Dataset:
  everywhere = devices.replicated(mesh)
  images, conditions = devices.place((np.asarray(dataset.images), dataset.conditions), everywhere)
  if dataset.table is None:
    return dataset._replace(images=images, labels=conditions)
  return dataset._replace(images=images, table=dataset.table._replace(values=conditions))


def _choose_placement(train: Dataset, validation: Dataset) -> str:
  free = devices.free_bytes()
  if free is None:  # The device's memory is the host's: what is in a file can stay there.
    is_too_large = isinstance(train.images, FileRows)
  else:
    # The other half is for the model, its optimizer and what a step computes.
    is_too_large = train.images.nbytes + validation.images.nbytes > free / 2
  return 'stream' if any(processes.gather(is_too_large)) else 'device'


def on_device(images: Array, conditions: Array, steps_per_epoch: int, mesh: Mesh) -> Feed:
  """All images lie on the device, and each step gathers its batch.

  Args:
    images: uint8 [N, H, W, C], on every device.
    conditions: [N, ...], the same.
    steps_per_epoch: steps in one epoch.
    mesh: the devices over which each batch is split.
  """
  split = devices.split_batch(mesh)

  def chunks(bounds, order):
    for epoch, group in itertools.groupby(bounds, lambda bound: bound[0] // steps_per_epoch):
      rows = order(epoch)
      for begin, end in group:
        yield Chunk(begin, end, (images, conditions, rows))

  def pick(data, step):
    images, conditions, rows = data
    batch = jax.lax.with_sharding_constraint(rows[step % len(rows)], split)
    return images[batch], conditions[batch]

  return Feed(chunks, pick, (None, None, 0), devices.chunk_steps(), 'device')


def streamed(
  dataset: Dataset,
  steps_per_epoch: int,
  batch_size: int,
  mesh: Mesh,
) -> Feed:
  """Images stay on the host; Grain gathers the batches of the next chunks in the background.

  Each process reads only the images that its own devices take.

  Args:
    dataset: the training images.
    steps_per_epoch: steps in one epoch.
    batch_size: images per step.
    mesh: the devices over which each batch is split.
  """
  import grain  # late: a second to import, for those who need it

  steps_then_batch = NamedSharding(mesh, PartitionSpec(None, 'data'))
  placement = (steps_then_batch, steps_then_batch, devices.replicated(mesh))
  columns = devices.own_columns(devices.split_batch(mesh), batch_size)

  def chunks(bounds, order):
    for epoch, group in itertools.groupby(bounds, lambda bound: bound[0] // steps_per_epoch):
      rows = np.asarray(order(epoch))

      def read(bound, rows=rows):
        begin, end = bound
        first = begin % steps_per_epoch
        chosen = rows[first : first + end - begin, columns]
        return bound, (dataset.images[chosen], dataset.conditions[chosen], np.int32(begin))

      source = grain.MapDataset.source(list(group)).map(read)
      options = grain.ReadOptions(READ_THREADS, PREFETCHED_CHUNKS)
      for (begin, end), arrays in source.to_iter_dataset(options):
        yield Chunk(begin, end, jax.make_array_from_process_local_data(placement, arrays))

  def pick(data, step):
    images, conditions, begin = data
    return images[step - begin], conditions[step - begin]

  bytes_per_step = dataset.images[0].nbytes * batch_size
  longest = max(1, min(devices.chunk_steps(), MAX_STREAMED_BYTES // bytes_per_step))
  return Feed(chunks, pick, (0, 0, 0), longest, 'stream')
