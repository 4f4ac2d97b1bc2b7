// Small helpers for elements of the page.

export function byId(id) {
  return document.getElementById(id);
}

/** Make an element. Properties are set as they are; those that contain a hyphen, and `role`, become attributes. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

export function press(button, pressed) {
  button.setAttribute("aria-pressed", String(pressed));
}

export function isPressed(button) {
  return button.getAttribute("aria-pressed") === "true";
}

/** Show one message to the user; an empty text hides it. */
export function showAlert(text) {
  byId("alert").hidden = text === "";
  byId("alert-text").textContent = text;
  if (text !== "") byId("alert").scrollIntoView({ block: "nearest" });
}

/** Tell users of screen readers what happens. */
export function announce(text) {
  byId("status").textContent = text;
}

export function capitalised(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
