"""Each operation of JAX that the page can compute, as calls of its kernels.

A rule is a function of (builder, inputs, output, parameters): the program so far, the values that
the operation takes, the shape and dtype of its first result, and the parameters of its primitive.
It adds calls and gives the result, or a list of several.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from cvae_jax.exporting.page.programs import Pointer, Value
from cvae_jax.runtime.errors import InputError

MAX_AXES = 5  # of the kernel `move`
MAX_UNROLLED = 256  # products of one batched product of matrices, rows of one gather

RULES: dict[str, Callable] = {}  # by the name of the primitive


def contiguous(shape: Sequence[int]) -> list[int]:
  """The strides of a contiguous array, in numbers."""
  return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def move_arguments(axes: Sequence[tuple[int, int, int]]) -> list[int]:
  """The arguments of `move`: sizes, then strides to read, then strides to write."""
  if len(axes) > MAX_AXES:
    raise InputError(f'The model moves an array along {len(axes)} axes, more than {MAX_AXES}.')
  axes = [(1, 0, 0)] * (MAX_AXES - len(axes)) + list(axes)
  return [number for column in zip(*axes, strict=True) for number in column]


def broadcast(build, value: Value, shape: Sequence[int], axes: Sequence[int]) -> Value:
  """The value repeated to `shape`, whose `axes` are its own."""
  kept = [axis for own, axis in enumerate(axes) if value.shape[own] > 1]
  if value.size == math.prod(shape[min(kept) :] if kept else ()):  # repeated over leading axes
    return value._replace(shape=tuple(shape))
  value, strides = build.full(value), [0] * len(shape)
  for own, stride in enumerate(contiguous(value.shape)):
    if value.shape[own] > 1:
      strides[axes[own]] = stride
  result = build.new(shape)
  build.move(value, result, shape, strides, contiguous(shape))
  return result


def _rule(*names: str):
  def register(function):
    RULES.update(dict.fromkeys(names, function))
    return function

  return register


def _map_rule(name: str, kernel: str) -> None:
  RULES[name] = lambda build, inputs, output, parameters: build.map(kernel, inputs[0])


def _map2_rule(name: str, kernel: str) -> None:
  RULES[name] = lambda build, inputs, output, parameters: build.map2(kernel, *inputs, output.shape)


for _name in ('exp', 'log', 'log1p', 'expm1', 'logistic', 'tanh', 'sign', 'neg', 'abs', 'sqrt'):
  _map_rule(_name, _name)
for _name in ('rsqrt', 'square', 'floor', 'not', 'is_finite'):
  _map_rule(_name, _name)
for _name in ('add', 'sub', 'mul', 'max', 'min', 'eq', 'ne', 'lt', 'le', 'gt', 'ge'):
  _map2_rule(_name, _name)
for _name, _kernel in (('add_any', 'add'), ('and', 'min'), ('or', 'max'), ('xor', 'ne')):
  _map2_rule(_name, _kernel)


@_rule('copy', 'stop_gradient', 'sharding_constraint')
def _same(build, inputs, output, parameters):
  return inputs[0]


@_rule('div')
def _div(build, inputs, output, parameters):
  quotient = build.map2('div', *inputs, output.shape)
  return build.map('trunc', quotient) if np.issubdtype(output.dtype, np.integer) else quotient


@_rule('rem')
def _rem(build, inputs, output, parameters):
  """first − trunc(first / second) · second: exact of integers."""
  first, second = inputs
  whole = build.map('trunc', build.map2('div', first, second, output.shape))
  return build.map2('sub', first, build.map2('mul', whole, second, output.shape), output.shape)


@_rule('convert_element_type')
def _convert(build, inputs, output, parameters):
  (value,) = inputs
  if output.dtype == bool:
    return build.map2('ne', value, build.value(np.float32(0)), output.shape)
  return build.map('trunc', value) if np.issubdtype(output.dtype, np.integer) else value


@_rule('round')
def _round(build, inputs, output, parameters):
  if int(parameters['rounding_method']) != 1:
    raise InputError('The model rounds halves away from zero, which the page does not.')
  return build.map('round', inputs[0])


@_rule('integer_pow')
def _integer_pow(build, inputs, output, parameters):
  (value,), power = inputs, abs(parameters['y'])
  result = value
  for _ in range(power - 1):
    result = build.map2('mul', result, value, output.shape)
  if power == parameters['y']:
    return result
  return build.map2('div', build.value(np.float32(1)), result, output.shape)


@_rule('clamp')
def _clamp(build, inputs, output, parameters):
  low, value, high = inputs
  return build.map2('min', build.map2('max', value, low, output.shape), high, output.shape)


@_rule('select_n')
def _select(build, inputs, output, parameters):
  condition, first, second = (
    build.full(value._replace(shape=output.shape) if value.size == 1 else value) for value in inputs
  )
  result = build.new(output.shape)
  pointers = (Pointer(value.buffer) for value in (condition, first, second, result))
  arguments = *pointers, result.size
  build.call('select', arguments, [condition, first, second], result, in_place=True)
  return result


@_rule('reshape', 'squeeze', 'expand_dims')
def _reshape(build, inputs, output, parameters):
  if parameters.get('dimensions') is not None and 'new_sizes' in parameters:
    raise InputError('The model reshapes and transposes an array at once, which the page does not.')
  return inputs[0]._replace(shape=output.shape)


@_rule('broadcast_in_dim')
def _broadcast(build, inputs, output, parameters):
  return broadcast(build, inputs[0], output.shape, parameters['broadcast_dimensions'])


@_rule('transpose')
def _transpose(build, inputs, output, parameters):
  return build.arranged(inputs[0], parameters['permutation'])


@_rule('slice')
def _slice(build, inputs, output, parameters):
  value, result = build.full(inputs[0]), build.new(output.shape)
  own = contiguous(value.shape)
  begin = sum(
    start * stride for start, stride in zip(parameters['start_indices'], own, strict=True)
  )
  steps = parameters['strides'] or [1] * len(own)
  strides = [step * stride for step, stride in zip(steps, own, strict=True)]
  build.move(value, result, output.shape, strides, contiguous(output.shape), (begin, 0))
  return result


@_rule('split')
def _split(build, inputs, output, parameters):
  value, axis, start, results = build.full(inputs[0]), parameters['axis'], 0, []
  strides = contiguous(value.shape)
  for size in map(int, parameters['sizes']):
    result = build.new((*value.shape[:axis], size, *value.shape[axis + 1 :]))
    begins = start * strides[axis], 0
    build.move(value, result, result.shape, strides, contiguous(result.shape), begins)
    results.append(result)
    start += size
  return results


@_rule('rev')
def _rev(build, inputs, output, parameters):
  value, result = build.full(inputs[0]), build.new(output.shape)
  strides, begin = contiguous(value.shape), 0
  for axis in parameters['dimensions']:
    begin += (value.shape[axis] - 1) * strides[axis]
    strides[axis] *= -1
  build.move(value, result, value.shape, strides, contiguous(value.shape), (begin, 0))
  return result


@_rule('concatenate')
def _concatenate(build, inputs, output, parameters):
  axis, result = parameters['dimension'], build.new(output.shape)
  strides, begin = contiguous(output.shape), 0
  for value in map(build.full, inputs):
    build.move(value, result, value.shape, contiguous(value.shape), strides, (0, begin))
    begin += value.shape[axis] * strides[axis]
  return result


@_rule('stack')
def _stack(build, inputs, output, parameters):
  axis = parameters['axis']
  inputs = [v._replace(shape=(*v.shape[:axis], 1, *v.shape[axis:])) for v in inputs]
  return _concatenate(build, inputs, output, {'dimension': axis})


@_rule('pad')
def _pad(build, inputs, output, parameters):
  return _padded(build, *inputs, parameters['padding_config'])


def _padded(build, value: Value, filler: Value, config) -> Value:
  """With `config` (before, after, between) of each axis; a negative number cuts off."""
  config = [tuple(map(int, axis)) for axis in config]
  if all(axis == (0, 0, 0) for axis in config):
    return value
  if any(low < 0 or high < 0 for low, high, _ in config):
    raise InputError('The model pads by a negative number, which the page does not.')
  value = build.full(value)
  sizes = zip(value.shape, config, strict=True)
  result = build.new([low + high + n + max(n - 1, 0) * gap for n, (low, high, gap) in sizes])
  if filler.buffer.constant is None:
    raise InputError('The model pads with a value that it computes, which the page does not.')
  build.call(
    'fill', (Pointer(result.buffer), float(filler.buffer.constant[0]), result.size), [], result
  )
  own = contiguous(result.shape)
  begin = sum(low * stride for (low, _, _), stride in zip(config, own, strict=True))
  strides = [(gap + 1) * stride for (_, _, gap), stride in zip(config, own, strict=True)]
  build.move(value, result, value.shape, contiguous(value.shape), strides, (0, begin))
  return result


def _inverse(permutation: Sequence[int]) -> list[int]:
  return [int(axis) for axis in np.argsort(permutation)]


@_rule('conv_general_dilated')
def _conv(build, inputs, output, parameters):
  maps, kernel = inputs
  numbers = parameters['dimension_numbers']
  batch, channels, *spatial = numbers.lhs_spec
  maps = build.arranged(maps, [batch, *spatial, channels])
  out_channels, in_channels, *taps = numbers.rhs_spec
  kernel = build.arranged(kernel, [*taps, in_channels, out_channels])
  is_plain = parameters['feature_group_count'] == parameters['batch_group_count'] == 1
  if not (is_plain and len(spatial) == 2 and set(parameters['rhs_dilation']) == {1}):
    raise InputError('The model has grouped or dilated convolutions, which the page does not.')
  axes = zip(parameters['padding'], parameters['lhs_dilation'], strict=True)
  config = [(0, 0, 0), *((low, high, gap - 1) for (low, high), gap in axes), (0, 0, 0)]
  maps = _padded(build, maps, build.value(np.float32(0)), config)
  _, height, width, ci = maps.shape
  kh, kw, _, co = kernel.shape
  sy, sx = parameters['window_strides']
  oh, ow = (height - kh) // sy + 1, (width - kw) // sx + 1
  result = build.new((_size_of_one(maps), oh, ow, co))
  geometry = width, ci, oh, ow, co, kh, kw, sy, sx
  if (kh, kw, sy, sx) == (1, 1, 1, 1):  # as one long row
    geometry = width * height, ci, 1, oh * ow, co, 1, 1, 1, 1
  arguments = *map(Pointer, (maps.buffer, kernel.buffer, result.buffer)), *geometry
  build.call('conv', arguments, [maps, kernel], result)
  out_batch, out_features, *out_spatial = numbers.out_spec
  return build.arranged(result, _inverse([out_batch, *out_spatial, out_features]))


def _size_of_one(maps: Value) -> int:
  """1, the only size of a batch that a program has."""
  if maps.shape[0] != 1:
    raise InputError(f'The page computes one image at a time, not {maps.shape[0]}.')
  return 1


@_rule('dot_general')
def _dot(build, inputs, output, parameters):
  left, right = inputs
  (left_sums, right_sums), (left_batch, right_batch) = parameters['dimension_numbers']
  left_free = [a for a in range(len(left.shape)) if a not in (*left_sums, *left_batch)]
  right_free = [a for a in range(len(right.shape)) if a not in (*right_sums, *right_batch)]
  size = lambda value, axes: math.prod(value.shape[axis] for axis in axes)  # noqa: E731
  count, rows = size(left, left_batch), size(left, left_free)
  inner, columns = size(left, left_sums), size(right, right_free)
  left = build.arranged(left, [*left_batch, *left_free, *left_sums])
  right = build.arranged(right, [*right_batch, *right_sums, *right_free])
  if count > MAX_UNROLLED:
    raise InputError(f'The model multiplies {count} matrices at once, more than {MAX_UNROLLED}.')
  result = build.new(output.shape)
  for number in range(count):
    places = (left, rows * inner), (right, inner * columns), (result, rows * columns)
    pointers = [Pointer(value.buffer, number * step) for value, step in places]
    geometry = rows, inner, 1, rows, columns, 1, 1, 1, 1  # a 1×1 convolution of one long row
    build.call('conv', (*pointers, *geometry), [left, right], result)
  return result


def _reduce_rule(name: str, kernel: str) -> None:
  def reduce(build, inputs, output, parameters):
    (value,), axes = inputs, sorted(parameters['axes'])
    free = [axis for axis in range(len(value.shape)) if axis not in axes]
    wide = [axis for axis in range(len(value.shape)) if value.shape[axis] > 1]
    between = [axis for axis in wide if axes and axes[0] < axis < axes[-1] and axis in free]
    last = [axis for axis in free if not axes or axis > axes[-1]]
    order = [*(axis for axis in free if axis not in last), *axes, *last]
    value = build.arranged(value, order) if between else build.full(value)
    size = lambda axes: math.prod(inputs[0].shape[axis] for axis in axes)  # noqa: E731
    result = build.new(output.shape)
    outer = size(axis for axis in free if axis not in last)
    arguments = Pointer(value.buffer), Pointer(result.buffer), outer, size(axes), size(last)
    build.call(kernel, arguments, [value], result)
    return result

  RULES[name] = reduce


for _name in ('reduce_sum', 'reduce_max', 'reduce_min', 'argmax'):
  _reduce_rule(_name, _name)
_reduce_rule('reduce_and', 'reduce_min')
_reduce_rule('reduce_or', 'reduce_max')


@_rule('cumsum')
def _cumsum(build, inputs, output, parameters):
  if parameters['reverse']:
    raise InputError('The model sums backwards, which the page does not.')
  value, axis, result = build.full(inputs[0]), parameters['axis'], build.new(output.shape)
  shape = output.shape
  sizes = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
  build.call('cumsum', (Pointer(value.buffer), Pointer(result.buffer), *sizes), [value], result)
  return result


@_rule('gather')
def _gather(build, inputs, output, parameters):
  """Each row of indices takes one slice; an index outside is moved to the nearest place inside."""
  value, indices = map(build.full, inputs)
  numbers, slice_sizes = parameters['dimension_numbers'], parameters['slice_sizes']
  result, strides = build.new(output.shape), contiguous(value.shape)
  batch_axes = [a for a in range(len(output.shape)) if a not in numbers.offset_dims]
  dropped = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
  kept = [axis for axis in range(len(value.shape)) if axis not in dropped]
  shape, to_strides = [slice_sizes[axis] for axis in kept], contiguous(output.shape)
  rows = list(np.ndindex(*indices.shape[:-1]))
  if len(rows) > MAX_UNROLLED:
    raise InputError(f'The model looks up {len(rows)} rows at once, more than {MAX_UNROLLED}.')
  depth = indices.shape[-1]
  for number, row in enumerate(rows):
    pairs = zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True)
    begin = sum(row[at] * strides[axis] for axis, at in pairs)
    begin_to = sum(i * to_strides[axis] for i, axis in zip(row, batch_axes, strict=True))
    looked_up = []
    for k, axis in enumerate(numbers.start_index_map):
      most = value.shape[axis] - slice_sizes[axis]
      looked_up += [Pointer(indices.buffer, number * depth + k), strides[axis], most]
    steps = [strides[axis] for axis in kept], [to_strides[axis] for axis in numbers.offset_dims]
    axes = move_arguments(list(zip(shape, *steps, strict=True)))
    pointers = Pointer(value.buffer, begin), Pointer(result.buffer, begin_to)
    arguments = *pointers, *axes, *looked_up
    build.call('gather', arguments, [value, indices], result)
  return result
