"""Trains the default model in PyTorch, with the options that its users choose from."""

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from benchmarks.pytorch_model import CVAE, negative_elbo

WARMUP_STEPS, TOTAL_STEPS = 2_000, 20_000


class Options(NamedTuple):
  """Options of a contender; the step is the same for all."""

  loader: bool = False  # a DataLoader on the host instead of data on the device
  channels_last: bool = False
  autocast: bool = False  # to bfloat16
  compile_mode: str | None = None  # of torch.compile, if any


class Digits(Dataset):
  """Single images, float [1, 28, 28] in [0, 1], with their labels."""

  def __init__(self, images: torch.Tensor, labels: torch.Tensor):
    self.images, self.labels = images, labels

  def __len__(self) -> int:
    return len(self.labels)

  def __getitem__(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
    return self.images[row].float() / 255, self.labels[row]


def make_run(
  options: Options,
  images: torch.Tensor,
  labels: torch.Tensor,
  batch_size: int,
  device: str,
  threads: int,
) -> Callable[[int], float]:
  """Returns run(num_steps), which trains and returns the last loss.

  Args:
    options: of the contender.
    images: uint8 [N, 1, 28, 28].
    labels: int64 [N].
    batch_size: images per step.
    device: 'cpu' or 'cuda'.
    threads: of the host, for computing or, with a GPU, for the DataLoader.
  """
  if device == 'cpu':
    torch.set_num_threads(threads)
  # As XLA on a GPU: float32 convolutions and products in TF32.
  torch.set_float32_matmul_precision('high')
  torch.backends.cudnn.benchmark = True  # XLA also times convolutions
  memory_format = torch.channels_last if options.channels_last else torch.contiguous_format
  model = CVAE().to(device, memory_format=memory_format)
  optimizer = torch.optim.AdamW(
    model.parameters(), lr=2e-3, weight_decay=1e-4, fused=device == 'cuda'
  )
  schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, TOTAL_STEPS)
  # As AveragedModel, without its counter on the host, which would wait for the device.
  averages = [parameter.detach().clone() for parameter in model.parameters()]
  update_averages = get_ema_multi_avg_fn(0.999)

  def loss_of(images, labels, beta):
    with torch.autocast(device, torch.bfloat16, enabled=options.autocast):
      outputs = model(images, labels)
    return negative_elbo(*outputs, images, beta)

  if options.compile_mode:
    loss_of = torch.compile(loss_of, mode=options.compile_mode)
  batches = _loaded if options.loader else _on_device
  batches = batches(images, labels, batch_size, device, threads)
  beta = torch.zeros((), device=device)
  steps = itertools.count()

  def run(num_steps: int) -> float:
    for step, (grey, targets) in zip(itertools.islice(steps, num_steps), batches, strict=False):
      binary = torch.bernoulli(grey).contiguous(memory_format=memory_format)
      beta.fill_(min(1.0, step / WARMUP_STEPS))
      loss = loss_of(binary, targets, beta)
      optimizer.zero_grad(set_to_none=True)
      loss.backward()
      torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
      optimizer.step()
      schedule.step()
      update_averages(averages, list(model.parameters()), None)
    return loss.item()  # waits for the device

  return run


def _loaded(images, labels, batch_size, device, threads) -> Iterator:
  workers = 0 if device == 'cpu' else threads  # a CPU has its cores for the step
  loader = DataLoader(
    Digits(images, labels),
    batch_size,
    shuffle=True,
    num_workers=workers,
    pin_memory=device == 'cuda',
    drop_last=True,
    persistent_workers=workers > 0,
  )
  while True:
    for grey, targets in loader:
      yield grey.to(device, non_blocking=True), targets.to(device, non_blocking=True)


def _on_device(images, labels, batch_size, device, threads) -> Iterator:
  images, labels = images.to(device), labels.to(device)
  while True:
    order = torch.randperm(len(labels), device=device)
    for rows in order[: len(order) // batch_size * batch_size].split(batch_size):
      yield images[rows].float() / 255, labels[rows]
