// The interactive view of true and predicted voxels, drawn on a canvas from back to front.
(() => {
  const canvas = document.getElementById("volume");
  if (!canvas) return;
  const context = canvas.getContext("2d");
  const decode = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const faces = [...document.querySelectorAll(".cloud")].map((node) => ({
    true: decode(node.dataset.true),
    predicted: decode(node.dataset.predicted),
  }));
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let face = 0, yaw = -0.5, pitch = 0.15, zoom = 1, touched = false;

  const draw = () => {
    const style = getComputedStyle(document.documentElement);
    const { width, height } = canvas;
    const scale = (height / 78) * zoom;
    const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
    const dots = [];
    for (const kind of ["true", "predicted"]) {
      if (document.documentElement.classList.contains(`hide-${kind}`)) continue;
      const colour = style.getPropertyValue(`--${kind}`).trim();
      const cloud = faces[face][kind];
      for (let i = 0; i < cloud.length; i += 4) {
        const [x, y, z] = [cloud[i] - 31.5, cloud[i + 1] - 31.5, cloud[i + 2] - 31.5];
        const [u, w] = [x * cy + z * sy, z * cy - x * sy];
        dots.push([u, y * cp + w * sp, w * cp - y * sp, cloud[i + 3] / 255, colour]);
      }
    }
    dots.sort((a, b) => a[2] - b[2]);
    context.clearRect(0, 0, width, height);
    for (const [x, y, depth, value, colour] of dots) {
      context.globalAlpha = value * value * (0.55 + depth / 140);
      context.fillStyle = colour;
      context.beginPath();
      context.arc(width / 2 + x * scale, height / 2 + y * scale, scale * 0.62, 0, 7);
      context.fill();
    }
  };

  canvas.addEventListener("pointermove", (event) => {
    if (!event.buttons) return;
    touched = true;
    yaw += event.movementX / 140;
    pitch = Math.max(-1.5, Math.min(1.5, pitch + event.movementY / 140));
    draw();
  });
  canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom = Math.max(0.5, Math.min(5, zoom * Math.exp(-event.deltaY / 600)));
    draw();
  }, { passive: false });
  document.getElementById("volume-face").addEventListener("change", (event) => { face = +event.target.value; draw(); });
  document.addEventListener("layers", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  let inView = false;
  const turn = () => {
    if (touched || still.matches || !inView) return;
    yaw += 0.006;
    draw();
    requestAnimationFrame(turn);
  };
  new IntersectionObserver(([entry]) => {
    inView = entry.isIntersecting;
    turn();
  }).observe(canvas);
  draw();
})();
