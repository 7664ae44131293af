// A short message at the foot of a page.

let timer = 0;
export function toast(text, bad = false, long = 5000) {
  const box = document.getElementById("toast");
  box.textContent = text;
  box.className = bad ? "shown bad" : "shown";
  clearTimeout(timer);
  timer = setTimeout(() => (box.className = ""), long);
}
