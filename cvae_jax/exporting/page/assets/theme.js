// Light or dark: as the system says, until the reader chooses.

/** `onChange()` is called after the theme has changed. */
export function followTheme(button, onChange) {
  const root = document.documentElement;
  const system = matchMedia('(prefers-color-scheme: dark)');
  let isChosen = false;
  const set = (isDark) => {
    root.dataset.theme = isDark ? 'dark' : 'light';
    onChange();
  };
  system.addEventListener('change', () => isChosen || set(system.matches));
  button.addEventListener('click', () => {
    isChosen = true;
    set(root.dataset.theme !== 'dark');
  });
}
