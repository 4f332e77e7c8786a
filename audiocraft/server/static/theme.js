// Before anything is drawn, so that a dark page never flashes white. Not a module: modules wait for the page.
(function () {
  let chosen = null;
  try { chosen = localStorage.getItem("audiocraft.theme"); } catch { /* private windows may refuse */ }
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();
