// The page: what follows from a drawing, and how its parts move one another.

import {open} from 'client';
import {Address} from 'address';
import {Bars, percent} from 'bars';
import {Conditions} from 'conditions';
import {frameOf} from 'framing';
import {latest} from 'latest';
import {LatentMap} from 'map';
import {Morph} from 'morph';
import {Pad} from 'pad';
import {element, paint, pictureCanvas} from 'paint';
import {antithetic, normals} from 'random';
import {Reading} from 'reading';
import {rove} from 'rove';
import {Sliders} from 'sliders';
import {GRID, brushOf, render} from 'strokes';
import {followTheme} from 'theme';
import {Tiles} from 'tiles';
import {demoStroke, isDigits, isWriting, words} from 'words';

const NOISES = 16; // of which a reading takes two at once, and the others while the pen rests
const SEED = 24; // of the noises: the same drawing always gets the same reading
const FAR = 3.5; // standard deviations of the prior; a drawing beyond is like nothing known
const PATIENCE = 400; // milliseconds that the bars may lag behind a moving pen

const $ = (id) => document.getElementById(id);

async function start() {
  const model = await open();
  const {info} = model;
  const {imageShape: shape, classColumn, columns} = info;
  const names = classColumn === null ? [''] : columns[classColumn].names;
  const isOne = names.length === 1;
  const text = words(info, names);
  const isInk = isWriting(info, names);
  const examples = info.examples.map(({image}) => Float32Array.from(image, (v) => v / 255));
  const frame = isInk ? frameOf(examples, shape) : null;
  const noises = antithetic(SEED, info.latentDim, NOISES);
  const average = {latent: info.priorMean, label: 0, source: 'average'};

  let seen = null; // what the model sees of the drawing
  let label = null; // the class that it is read as
  let anchor = null; // its posterior mean, under that class
  let result = null; // its last reading
  let style = average; // what the tiles show: a latent, its class, and where it is from
  let hovered = null; // the latent under the pointer on the map

  const conditions = new Conditions($('conditions'), columns, classColumn, () => {
    morph.reset();
    drawn(false);
    if (style.source !== 'drawing') showTiles(style);
    address.follow();
  });
  const rowOf = (i) => {
    const row = conditions.row.slice();
    if (classColumn !== null) row[classColumn] = i;
    return row;
  };
  const rows = () => names.map((_, i) => rowOf(i));
  const inAllClasses = async (latent, from) => {
    const all = rows();
    return model.decode(await model.restyle(latent, rowOf(from), all), all);
  };

  // The tiles: one image per class, of the style or of what the pointer is on.

  const tiles = new Tiles($('tiles'), names, shape, isInk, (picked) => map?.setHighlight(picked));
  $('tiles').classList.toggle('one', isOne);
  $('tiles').classList.toggle(
    'named',
    names.some((name) => name.length > 2),
  );
  $('result').classList.toggle('many', names.length > 20);

  const caption = (source) => {
    const isOwn = !pad.isDemo && pad.strokes.length > 0;
    $('caption').textContent = (isOwn ? text.captions : text.exampleCaptions)[source];
    $('result').classList.toggle('preview', source === 'pointer');
    tiles.mark(['drawing', 'moved'].includes(source) ? label : null);
  };
  const showTiles = latest(async ({latent, label: from, source}) => {
    const isHover = source === 'pointer';
    const images = isHover
      ? await model.decode(
          names.map(() => latent),
          rows(),
        )
      : await inAllClasses(latent, from);
    if (isHover !== Boolean(hovered)) return;
    tiles.show(images);
    if (isHover) map.setPicture('pointer', images[style.label]);
    else map?.setPicture('mark', images[from]);
    caption(source);
  }, fail);

  const setStyle = (next) => {
    style = next;
    sliders.show(style.latent);
    map?.setLatent(style.latent);
    $('reset').disabled = ['drawing', 'average'].includes(style.source);
    address.follow();
    if (style.source === 'between') return caption('between');
    morph.stop();
    return showTiles(style);
  };
  const move = (latent) => {
    const isOwn = ['drawing', 'moved'].includes(style.source);
    return setStyle({latent, label: style.label, source: isOwn ? 'moved' : 'sample'});
  };
  const forget = () => {
    label = anchor = result = null;
    bars.empty();
    $('live').textContent = '';
    return setStyle(average);
  };

  // The drawing and its reading.

  const bars = new Bars($('reading'), names, info.usual, text.invitation);
  const isFar = (latent) =>
    latent.some((v, k) => Math.abs(v - info.priorMean[k]) > FAR * info.std[k]);
  const read = latest(async ({samples, isNew}, isOvertaken) => {
    if (seen.every((v) => v === 0)) return forget();
    const image = seen;
    if (isNew) style = {...style, source: 'drawing'};
    const posteriors = await model.posteriors(image, rows());
    const follow = async (likeliest) => {
      label = likeliest;
      anchor = posteriors.mean[label];
      if (style.source === 'drawing') await setStyle({latent: anchor, label, source: 'drawing'});
      else caption(style.source);
    };
    if (label !== null) await follow(label);
    const reading = new Reading(names.length);
    for (const noise of noises.slice(0, samples)) {
      const isLate = performance.now() - bars.time > PATIENCE && reading.count < 2;
      if (isOvertaken() && !isLate) return;
      reading.add((await model.bounds(image, rows(), noise, 'reading', posteriors)).elbo);
      if (reading.count % 2 && reading.count < samples) continue;
      result = reading;
      const isFinal = reading.count === samples;
      bars.show(reading, isFinal, isFar(posteriors.mean[reading.label]));
      if (reading.label !== label) await follow(reading.label);
    }
    const p = percent(reading.probabilities[label]);
    $('live').textContent = isOne ? '' : `The model reads ${names[label]}, ${p}`;
  }, fail);

  let wanted = NOISES;
  const drawn = (isNew = true) => {
    seen = render(pad.strokes, pad.now.base, shape, frame);
    paint($('seen'), seen, shape, isInk);
    $('hint').textContent = pad.isDemo ? text.demoHint : pad.isEmpty ? text.hint : '';
    if (!pad.isDemo) $('notice').textContent = '';
    $('undo').disabled = !pad.canUndo;
    $('clear').disabled = pad.isEmpty;
    return read({samples: wanted, isNew});
  };
  for (const id of ['pad', 'seen']) {
    Object.assign($(id), {width: shape[1], height: shape[0]});
    $(id).classList.toggle('ink', isInk);
    $(id).parentNode.classList.toggle('raw', !isInk);
  }
  $('pad').style.aspectRatio = `${shape[1]} / ${shape[0]}`;
  const pad = new Pad($('pad'), shape, isInk, brushOf(frame), () => drawn());

  const exampleOf = (i) => (i === null ? {} : {base: examples[i], example: i});
  $('examples-block').hidden = !examples.length;
  $('examples-title').textContent = `Or start from a ${text.example}`;
  $('examples').append(
    ...examples.map((image, i) => {
      const picture = pictureCanvas(shape, isInk);
      paint(picture, image, shape, isInk);
      const name = names[info.examples[i].label] ?? '';
      const button = element('button', {type: 'button', title: name}, [picture]);
      button.setAttribute('aria-label', `${text.example} ${i + 1}${name && `: ${name}`}`);
      button.addEventListener('click', () => pad.set(exampleOf(i)));
      return element('li', {}, [button]);
    }),
  );
  rove($('examples'));

  $('undo').addEventListener('click', () => pad.undo());
  $('clear').addEventListener('click', () => pad.clear());
  document.addEventListener('keydown', (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.shiftKey || event.key.toLowerCase() !== 'z')
      return;
    event.preventDefault();
    pad.undo();
  });
  $('brush').hidden = shape[2] === 1;
  $('colour').addEventListener('input', () => (pad.colour = $('colour').value));

  // The map, the sliders, new styles.

  $('map-block').hidden = !info.map;
  const map =
    info.map &&
    new LatentMap($('map'), info.map, shape, isInk, {
      onMove: move,
      onHover(latent) {
        hovered = latent;
        if (!latent) showTiles(style);
        else if (!morph.playing) showTiles({latent, source: 'pointer'});
      },
    });
  const sliders = new Sliders($('sliders'), $('more'), info, (k, value) => {
    move(style.latent.with(k, value));
  });
  $('reset').addEventListener('click', () => {
    if (anchor) setStyle({latent: anchor, label, source: 'drawing'});
    else forget();
  });
  const setTemperature = (value) => {
    $('temperature').value = value;
    $('temperature-value').textContent = $('temperature').valueAsNumber.toFixed(2);
  };
  $('temperature').addEventListener('input', () => {
    setTemperature($('temperature').value);
    address.follow();
  });
  $('sample').addEventListener('click', async () => {
    const [from, temperature] = [style.label, $('temperature').valueAsNumber];
    const noise = normals(Math.random, info.latentDim);
    const latent = await model.draw(rowOf(from), noise, temperature, Math.random());
    setStyle({latent, label: from, source: 'sample'});
  });

  // From a style A to a style B.

  const ends = {};
  const morph = new Morph({
    async decodeAt(t) {
      const {a, b} = ends;
      const [end] = await model.restyle(b.latent, rowOf(b.label), [rowOf(a.label)]);
      const latent = a.latent.map((v, k) => v + t * (end[k] - v));
      return {latent, images: await inAllClasses(latent, a.label)};
    },
    show(t, latent, images) {
      $('way').value = t;
      tiles.show(images);
      map?.setPicture('mark', images[ends.a.label]);
      setStyle({latent, label: ends.a.label, source: 'between'});
    },
    onState: (isPlaying) => ($('play').textContent = isPlaying ? 'Pause' : 'Play'),
  });
  const store = async (which, latent, of) => {
    morph.reset();
    ends[which] = {latent, label: of};
    const [image] = await model.decode([latent], [rowOf(of)]);
    paint($(`store-${which}`).querySelector('canvas'), image, shape, isInk);
    $('play').disabled = $('way').disabled = !(ends.a && ends.b);
  };
  for (const which of ['a', 'b']) {
    $(`store-${which}`).querySelector('canvas').replaceWith(pictureCanvas(shape, isInk));
    $(`store-${which}`).addEventListener('click', () => store(which, style.latent, style.label));
  }
  const seek = latest((t) => morph.seek(t), fail);
  $('way').addEventListener('input', () => {
    morph.stop();
    seek($('way').valueAsNumber);
  });
  $('play').addEventListener('click', () => {
    if (morph.playing) morph.stop();
    else morph.play().catch(fail);
  });

  // The link, the picture, the theme, the words.

  const address = new Address(
    info,
    () => {
      const {strokes, base, example} = pad.isDemo
        ? {strokes: [], base: null, example: null}
        : pad.now;
      // An image that a program gave is not in the link: its style is.
      const isOwn = ['drawing', 'average'].includes(style.source) && (!base || example !== null);
      const {latent, label: of} = isOwn || (pad.isDemo && style.source === 'drawing') ? {} : style;
      const hasRow = columns.length > (classColumn === null ? 0 : 1);
      const temperature = $('temperature').valueAsNumber;
      return {strokes, example, latent, label: of, row: hasRow && conditions.row, temperature};
    },
    (linked) => restore(linked),
  );
  const restore = async (linked) => {
    const {strokes, example, latent, label: of, row, temperature, isDamaged} = linked;
    $('notice').textContent = isDamaged ? text.damaged : '';
    if (row) conditions.set(row);
    setTemperature(temperature);
    if (!strokes.length && example === null && !latent) {
      return demonstrate(pad, isDigits(names), exampleOf(examples.length ? 0 : null));
    }
    await pad.set({...exampleOf(example), strokes});
    if (latent)
      await setStyle({latent, label: of ?? 0, source: label === null ? 'sample' : 'moved'});
  };
  $('copy').addEventListener('click', async () => {
    $('copy').textContent = (await address.copy()) ? 'Copied' : 'See the address bar';
    setTimeout(() => ($('copy').textContent = 'Copy link'), 2000);
  });
  $('save').addEventListener('click', () => {
    tiles.compose(label === null ? null : seen).toBlob((blob) => {
      const link = element('a', {href: URL.createObjectURL(blob), download: `${info.name}.png`});
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
  });
  followTheme($('theme'), () => map?.redraw());

  document.title = `${text.headline} (${info.name})`;
  for (const [id, words] of Object.entries({
    name: info.name,
    headline: text.headline,
    lead: text.lead,
    about: info.lines.join(' '),
    'map-text': text.map,
    'sliders-text': text.sliders,
  }))
    $(id).textContent = words;
  setTemperature(1);
  $('app').inert = false;
  document.body.className = '';

  // For programs: the reading of an image, by the path that an example takes.

  window.page.setImage = (image, samples = NOISES) => {
    wanted = samples;
    const done = pad.set({base: Float32Array.from(image)});
    wanted = NOISES;
    return done;
  };
  window.page.state = () => ({
    bars: result ? Array.from(result.probabilities) : [],
    elbos: result ? Array.from(result.elbos) : [],
    nats: result?.nats ?? null,
    quantile: bars.quantile,
    label,
    seen: Array.from(seen),
    tiles: tiles.images.map((image) => Array.from(image)),
    latent: Array.from(style.latent),
    source: style.source,
  });

  // The beginning: what the link says, or a drawing by the page, so that nobody sees it empty.

  await restore(address.linked);
  for (const [which, i] of [
    ['a', 0],
    ['b', 1],
  ]) {
    if (examples.length < 2 || ends[which]) continue;
    const of = names[info.examples[i].label] ? info.examples[i].label : 0;
    await store(which, (await model.posteriors(examples[i], [rowOf(of)])).mean[0], of);
  }
}

/** Draws a digit as a pen would, or takes an example; ends at once when the reader draws. */
async function demonstrate(pad, asDigit, example) {
  if (!asDigit) return pad.set(example, true);
  const points = demoStroke(GRID);
  const isStill = matchMedia('(prefers-reduced-motion: reduce)').matches;
  let result = null;
  for (let n = isStill ? points.length : 4; n <= points.length; n += 2) {
    result = pad.set({strokes: [{points: points.slice(0, n), colour: pad.colour}]}, true);
    if (n < points.length) await new Promise((resolve) => setTimeout(resolve, 60));
    if (!pad.isDemo) return;
  }
  return result;
}

const fail = window.fail;
window.page = {};
window.page.ready = start().catch(fail);
