// Making elements. Text is always set as text: nothing that a model or a tool wrote is ever parsed as markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** An HTML element: html("p", {class: "x", onclick: f}, "text", child). */
export function html(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element, used the same way. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Attributes of something drawn that mouse and keyboard can press. */
export function pressable(press) {
  const onkeydown = (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    press();
  };
  return { tabindex: 0, role: "button", onclick: press, onkeydown };
}

/** Draw the eye to a node. */
export function pulse(node) {
  node.classList.remove("touched");
  node.getBoundingClientRect(); // restarts the animation
  node.classList.add("touched");
}
