// The model as the page sees it: promises of what the workers compute.
//
// Each decoded image and each bound is a job of its own. Two workers take jobs in order; a newer
// call on a channel drops the older call's jobs that have not begun.

export class Stale extends Error {}

const WORKERS = Math.min(2, navigator.hardwareConcurrency || 1);

class Pool {
  constructor(workers) {
    this.idle = workers;
    this.queue = [];
    this.running = new Map();
    this.calls = 0;
    this.newest = new Map();
    for (const worker of workers) {
      worker.onmessage = ({data}) => this.#finished(worker, data);
      worker.onerror = () => this.#finished(worker, {error: 'The computation failed.'});
    }
  }

  // Runs a program once for each of `inputs`; gives the outputs of each.
  all(program, inputs, channel) {
    const call = ++this.calls;
    if (channel !== undefined) {
      this.newest.set(channel, call);
      const isStale = (job) => job.channel === channel;
      this.queue.filter(isStale).forEach((job) => job.reject(new Stale()));
      this.queue = this.queue.filter((job) => !isStale(job));
    }
    const jobs = inputs.map((given) => new Promise((resolve, reject) => {
      this.queue.push({program, inputs: given, channel, resolve, reject});
    }));
    this.#begin();
    return Promise.all(jobs);
  }

  #begin() {
    while (this.idle.length && this.queue.length) {
      const [worker, job] = [this.idle.pop(), this.queue.shift()];
      this.running.set(worker, job);
      worker.postMessage({program: job.program, inputs: job.inputs});
    }
  }

  #finished(worker, {outputs, error}) {
    const job = this.running.get(worker);
    this.running.delete(worker);
    this.idle.push(worker);
    if (error) job?.reject(new Error(error));
    else job?.resolve(outputs);
    this.#begin();
  }
}

class Model {
  #pool;
  #programs;

  constructor(pool, info, programs) {
    this.#pool = pool;
    this.#programs = new Set(programs);
    this.info = info;
  }

  async posteriors(image, rows, channel) {
    const [[features]] = await this.#pool.all('features', [{image}], channel);
    const outputs = await this.#pool.all('posterior', rows.map((row) => ({features, row})), channel);
    return {mean: outputs.map((output) => output[0]), logvar: outputs.map((output) => output[1])};
  }

  async decode(latents, rows, channel) {
    const inputs = latents.map((latent, i) => ({latent, row: rows[i]}));
    return (await this.#pool.all('decode', inputs, channel)).map(([image]) => image);
  }

  // With one draw of the posterior; `posteriors` are those of the rows, if they are known.
  async bounds(image, rows, noise, channel, posteriors) {
    const {mean, logvar} = posteriors ?? await this.posteriors(image, rows, channel);
    const inputs = rows.map((row, i) => ({image, mean: mean[i], logvar: logvar[i], noise, row}));
    const outputs = await this.#pool.all('terms', inputs, channel);
    const reconstruction = Float32Array.from(outputs, ([value]) => value[0]);
    const kl = Float32Array.from(outputs, ([, value]) => value[0]);
    return {elbo: reconstruction.map((value, i) => -value - kl[i]), reconstruction, kl};
  }

  async draw(row, noise, temperature, uniform, channel) {
    const scaled = noise.map((value) => temperature * value);
    const inputs = {noise: scaled, uniform: Float32Array.of(uniform), row};
    const [[latent]] = await this.#pool.all('draw', [inputs], channel);
    return latent;
  }

  async restyle(latent, row, rows, channel) {
    if (!this.#programs.has('restyle')) return rows.map(() => latent);
    const inputs = rows.map((other) => ({latent, row, other}));
    return (await this.#pool.all('restyle', inputs, channel)).map(([other]) => other);
  }
}

// The model of the page; rejects with one clear line where it cannot start.
export async function open() {
  const text = (id) => document.getElementById(id).textContent;
  const url = URL.createObjectURL(new Blob([text('engine')], {type: 'text/javascript'}));
  const workers = Array.from({length: WORKERS}, () => new Worker(url));
  const payload = text('model');
  const opened = await Promise.all(workers.map((worker) => new Promise((resolve, reject) => {
    worker.onmessage = ({data}) => data.error ? reject(new Error(data.error)) : resolve(data);
    worker.onerror = () => reject(new Error('The page cannot start its worker in this browser.'));
    worker.postMessage({open: payload});
  })));
  URL.revokeObjectURL(url);
  return new Model(new Pool(workers), opened[0].info, opened[0].programs);
}
