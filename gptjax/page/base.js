// What every page has: its data, and elements made of them. Texts go into the page as text, never as markup.
const $ = (id) => document.getElementById(id);
const DATA = JSON.parse($("data").textContent);
const known = (value) => value !== null && value !== undefined;

function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") made.addEventListener("click", value);
    else if (known(value)) made.setAttribute(name, value);
  }
  made.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return made;
}
