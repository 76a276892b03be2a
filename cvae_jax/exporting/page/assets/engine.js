// The worker of a page: it holds the model, and runs its programs one after another.
//
// It gets {open: text} once, then {id, program, inputs}, and answers {id, outputs} or {id, error}.

'use strict';

const TYPES = {uint8: Uint8Array, uint16: Uint16Array, int32: Int32Array, float32: Float32Array};
const MAGIC = 0x65617663;  // 'cvae'
const NEEDED = 'This page needs WebAssembly with SIMD and DecompressionStream: open it in a newer ' +
  'browser.';
const DAMAGED = 'The model in this page is damaged: export it again, or download the page again.';

let model;

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
  const buffer = await new Response(stream).arrayBuffer();
  const view = new DataView(buffer);
  if (view.getUint32(0, true) !== MAGIC) throw new Error(DAMAGED);
  const begin = 8 + view.getUint32(4, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, begin - 8)));
  const array = (at) => new TYPES[at.array](buffer, begin + at.begin, at.size);
  return {header, array};
}

// What the page shows, with its arrays in place of the references to them.
function resolved(value, array) {
  if (value === null || typeof value !== 'object') return value;
  if (Array.isArray(value)) return value.map((item) => resolved(item, array));
  if (value.array !== undefined) return array(value).slice();
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, resolved(v, array)]));
}

async function open(text) {
  if (typeof WebAssembly !== 'object' || typeof DecompressionStream !== 'function') {
    throw new Error(NEEDED);
  }
  const {header, array} = await unpacked(text).catch(() => {
    throw new Error(DAMAGED);
  });
  const {instance} = await WebAssembly.instantiate(array(header.kernels)).catch(() => {
    throw new Error(NEEDED);
  });
  const kernels = instance.exports;
  const {memory} = kernels;
  memory.grow(Math.max(0, Math.ceil((header.memory - memory.buffer.byteLength) / 65536)));
  const numbers = new Float32Array(memory.buffer);
  const {planes, places} = header.rounded;
  const [bytes, count] = [array(planes), planes.size / 3];
  const middle = 1 << header.bits;
  let at = 0;
  for (const [address, size, unit] of places) {
    for (let i = 0; i < size; i++, at++) {
      const whole = bytes[at] | (bytes[at + count] << 8) | (bytes[at + 2 * count] << 16);
      numbers[address / 4 + i] = (whole - middle) * unit;
    }
  }
  const exact = array(header.exact.values);
  at = 0;
  for (const [address, size] of header.exact.places) {
    numbers.set(exact.subarray(at, at + size), address / 4);
    at += size;
  }
  model = {kernels, numbers, programs: header.programs};
  return resolved(header.info, array);
}

// A slice whose place is computed: of `place` for each index.
function gather(kernels, [from, to, ...rest]) {
  const axes = rest.slice(0, 15);
  let offset = 0;
  for (let i = 15; i < rest.length; i += 3) offset += kernels.place(...rest.slice(i, i + 3));
  kernels.move(from + 4 * offset, to, ...axes);
}

function run(name, inputs) {
  const {kernels, numbers, programs} = model;
  const program = programs[name];
  for (const [input, [address, size]] of Object.entries(program.inputs)) {
    if (inputs[input]?.length !== size) throw new Error(`${name} needs ${size} numbers: ${input}`);
    numbers.set(inputs[input], address / 4);
  }
  for (const [kernel, ...values] of program.calls) {
    if (kernel === 'gather') gather(kernels, values);
    else kernels[kernel](...values);
  }
  return program.outputs.map(([address, size]) => numbers.slice(address / 4, address / 4 + size));
}

self.onmessage = async ({data}) => {
  if (data.open !== undefined) {
    try {
      self.postMessage({info: await open(data.open), programs: Object.keys(model.programs)});
    } catch (error) {
      self.postMessage({error: error.message});
    }
    return;
  }
  try {
    self.postMessage({id: data.id, outputs: run(data.program, data.inputs)});
  } catch (error) {
    self.postMessage({id: data.id, error: error.message});
  }
};
