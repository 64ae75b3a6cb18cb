// Before the first paint, so that a page never shows in the other theme first.
const chosen = localStorage.getItem("theme");
if (chosen) document.documentElement.dataset.theme = chosen;
document.documentElement.dataset.size = localStorage.getItem("size") || "m";
