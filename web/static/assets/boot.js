// Runs before the first paint: the chosen theme, and no flash of the other language.
(() => {
  const root = document.documentElement;
  const stored = (key) => {
    try { return localStorage.getItem(key); } catch { return null; }
  };
  const theme = stored('rtcd.theme');
  if (theme) root.dataset.theme = theme;
  const asked = new URLSearchParams(location.search).get('lang') || stored('rtcd.lang') ||
    (navigator.languages || []).find((l) => /^(en|zh)\b/i.test(l)) || 'en';
  if (/^zh/i.test(asked)) {
    root.lang = 'zh-Hans';
    root.dataset.pending = '';
  }
})();
