// Colours: as the system, light or dark. A classic script, so that the page is never drawn in the wrong colours.
(() => {
  const root = document.documentElement;
  const choices = { auto: "Auto", light: "Light", dark: "Dark" };
  const labels = { auto: "as the system", light: "light", dark: "dark" };
  let choice = "auto";
  try {
    choice = localStorage.getItem("synergy-theme") ?? "auto";
  } catch { /* A browser may forbid storage. */ }

  function show() {
    if (!(choice in choices)) choice = "auto";
    if (choice === "auto") root.removeAttribute("data-theme");
    else root.dataset.theme = choice;
    const button = document.getElementById("theme");
    if (button === null) return;
    document.getElementById("theme-name").textContent = choices[choice];
    button.setAttribute("aria-label", `Colours: ${labels[choice]}`);
  }

  show();
  document.addEventListener("DOMContentLoaded", () => {
    show();
    document.getElementById("theme").addEventListener("click", () => {
      const names = Object.keys(choices);
      choice = names[(names.indexOf(choice) + 1) % names.length];
      try {
        localStorage.setItem("synergy-theme", choice);
      } catch { /* The choice then lasts until the page is left. */ }
      show();
      dispatchEvent(new Event("themechange"));
    });
  });
})();
