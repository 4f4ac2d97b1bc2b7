// The check boxes that show and hide the true points, the predicted points and the meshes everywhere on the page.
for (const box of document.querySelectorAll("[data-layer]")) {
  box.addEventListener("change", () => {
    document.documentElement.classList.toggle(`hide-${box.dataset.layer}`, !box.checked);
    for (const twin of document.querySelectorAll(`[data-layer="${box.dataset.layer}"]`)) twin.checked = box.checked;
    document.dispatchEvent(new Event("layers"));
  });
}
