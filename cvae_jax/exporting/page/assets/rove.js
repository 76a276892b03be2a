// A row of buttons as one stop of the Tab key: the arrows go from button to button.

const STEPS = {ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity};

/** Makes a list whose items hold one button each a toolbar. */
export function rove(list) {
  const buttons = [...list.querySelectorAll('button')];
  const choose = (chosen) => {
    for (const button of buttons) button.tabIndex = button === chosen ? 0 : -1;
  };
  list.setAttribute('role', 'toolbar');
  for (const item of list.children) item.setAttribute('role', 'none');
  choose(buttons[0]);
  list.addEventListener('focusin', (event) => choose(event.target));
  list.addEventListener('keydown', (event) => {
    const step = STEPS[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const at = buttons.indexOf(event.target) + step;
    buttons[Math.min(buttons.length - 1, Math.max(0, at))].focus();
  });
}
