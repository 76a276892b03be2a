// Controls for the conditions other than the class: what is known about the drawing.

import {element} from 'paint';

export class Conditions {
  /** `onChange()` is called after a change; `row` holds the values as the model takes them. */
  constructor(root, columns, classColumn, onChange) {
    this.row = Float32Array.from(columns, (column) => (column.mayBeUnknown ? NaN : 0));
    this.refresh = [];
    columns.forEach((column, i) => {
      if (i === classColumn) return;
      root.append(this.control(column, i, onChange));
    });
    root.hidden = !this.refresh.length;
  }

  set(row) {
    this.row.set(row);
    this.refresh.forEach((refresh) => refresh());
  }

  control(column, i, onChange) {
    const {name, kind, unit} = column;
    const id = `condition-${i}`;
    const input = {category: choice, flag: box, number: range}[kind](column);
    input.id = id;
    const value = element('output', {htmlFor: id});
    const unknown = element('input', {type: 'checkbox', id: `${id}-unknown`});
    const refresh = () => {
      const v = this.row[i];
      unknown.checked = Number.isNaN(v);
      if (!unknown.checked) {
        if (kind === 'flag') input.checked = v > 0;
        else input.value = kind === 'number' ? column.mean + v * column.std : v;
      }
      input.disabled = unknown.checked;
      value.textContent =
        kind !== 'number' || unknown.checked
          ? ''
          : `${round(input.valueAsNumber)}${unit ? ` ${unit}` : ''}`;
    };
    const read = () => {
      this.row[i] = unknown.checked
        ? NaN
        : kind === 'flag'
          ? Number(input.checked)
          : kind === 'number'
            ? (input.valueAsNumber - column.mean) / column.std
            : Number(input.value);
      refresh();
      onChange();
    };
    input.addEventListener('input', read);
    unknown.addEventListener('input', read);
    const row = element('div', {className: 'condition'}, [
      element('label', {htmlFor: id, textContent: name.replaceAll('_', ' ')}),
      input,
      value,
    ]);
    if (column.mayBeUnknown) {
      row.append(element('label', {className: 'unknown'}, [unknown, 'unknown']));
    }
    this.refresh.push(refresh);
    refresh();
    return row;
  }
}

function choice({names}) {
  return element(
    'select',
    {},
    names.map((text, value) => element('option', {value, text})),
  );
}

function box() {
  return element('input', {type: 'checkbox'});
}

function range({low, high, mean}) {
  return element('input', {
    type: 'range',
    min: low,
    max: high,
    step: (high - low) / 200,
    value: mean,
  });
}

function round(v) {
  return String(Number(v.toPrecision(3))).replace('-', '−');
}
