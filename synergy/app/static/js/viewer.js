// A face in 3D that one can rotate: a GLB file with expressions as morph targets, drawn by three.js.

import {
  AnimationMixer, Box3, Color, DirectionalLight, DoubleSide, GLTFLoader, Group, HemisphereLight, Mesh, MeshBasicMaterial,
  MeshStandardMaterial, OrbitControls, PerspectiveCamera, Quaternion, Scene, Spherical, TOUCH, Vector3,
  WebGLRenderer,
} from "../vendor/three.js";

// The camera's distance in heights of the head, and its angle of view in degrees.
const DISTANCE = 2.75;
const FIELD_OF_VIEW = 24;
const KEY_STEP = Math.PI / 30;
const VIEWS = { front: 0, left: -Math.PI / 2, right: Math.PI / 2 };

export class Viewer {
  /** Raises an Error where the browser has no WebGL. */
  constructor(canvas) {
    this.canvas = canvas;
    try {
      this.renderer = new WebGLRenderer({ canvas, antialias: true, alpha: true });
    } catch {
      throw new Error("This browser cannot show 3D (WebGL is off). The downloads have the mesh.");
    }
    this.renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
    this.camera = new PerspectiveCamera(FIELD_OF_VIEW, 1, 0.1, 100);
    this.scene = new Scene();
    this.scene.add(new HemisphereLight(new Color("#ffffff"), new Color("#8a8f96"), 2.1), this.camera);
    const light = new DirectionalLight(new Color("#ffffff"), 1.7);
    light.position.set(0.6, 0.9, 1);
    this.camera.add(light);
    this.holder = new Group();
    this.scene.add(this.holder);
    this.controls = new OrbitControls(this.camera, canvas);
    this.controls.enablePan = false;
    this.controls.minDistance = 1.2;
    this.controls.maxDistance = 8;
    // A finger that moves up or down scrolls the page; two fingers rotate in all directions.
    canvas.style.touchAction = "pan-y";
    this.controls.touches.TWO = TOUCH.DOLLY_ROTATE;
    canvas.addEventListener("pointerdown", (event) => {
      const angle = this.controls.getPolarAngle();
      const isLocked = event.pointerType === "touch" && event.isPrimary;
      this.controls.minPolarAngle = isLocked ? angle : 0;
      this.controls.maxPolarAngle = isLocked ? angle : Math.PI;
    });
    this.controls.addEventListener("change", () => this.draw());
    canvas.addEventListener("keydown", (event) => this.onKey(event));
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.view = "photo";
  }

  /** Show a GLB file, and return the names of its expressions. */
  async load(buffer) {
    const { scene, animations } = await new GLTFLoader().parseAsync(buffer, "");
    const mesh = scene.getObjectByProperty("isMesh", true);
    this.clear();
    this.mesh = mesh;
    this.photoRotation = mesh.quaternion.clone();
    this.photoWeights = [...(mesh.morphTargetInfluences ?? [])];
    mesh.position.set(0, 0, 0);
    mesh.scale.setScalar(1);
    mesh.frustumCulled = false;
    const box = new Box3().setFromBufferAttribute(mesh.geometry.attributes.position);
    const centre = box.getCenter(new Vector3());
    mesh.geometry.translate(-centre.x, -centre.y, -centre.z);
    this.holder.scale.setScalar(1 / (box.max.y - box.min.y));
    this.holder.add(mesh);
    this.addMaterials(mesh);
    this.mixer = new AnimationMixer(mesh);
    this.actions = animations.map((clip) => {
      // The head stays in the middle.
      clip.tracks = clip.tracks.filter((track) => !/\.(position|scale)$/.test(track.name));
      return this.mixer.clipAction(clip).play();
    });
    this.resetCamera();
    this.setView("photo");
    return Object.keys(mesh.morphTargetDictionary ?? {});
  }

  addMaterials(mesh) {
    this.photoMaterial = mesh.material;
    this.photoMaterial.side = DoubleSide;
    this.clayMaterial = new MeshStandardMaterial({ color: "#c9c4bd", roughness: 0.75, side: DoubleSide });
    for (const material of [this.photoMaterial, this.clayMaterial]) {
      Object.assign(material, { polygonOffset: true, polygonOffsetFactor: 1, polygonOffsetUnits: 1 });
    }
    const material = new MeshBasicMaterial({ color: "#19a57d", wireframe: true, transparent: true, opacity: 0.45 });
    this.wire = new Mesh(mesh.geometry, material);
    this.wire.morphTargetInfluences = mesh.morphTargetInfluences;
    this.wire.morphTargetDictionary = mesh.morphTargetDictionary;
    this.wire.frustumCulled = false;
    this.wire.visible = this.showsWire ?? false;
    mesh.add(this.wire);
    this.setSurface(this.surface ?? "photo");
  }

  setSurface(surface) {
    this.surface = surface;
    if (this.mesh) this.mesh.material = surface === "clay" ? this.clayMaterial : this.photoMaterial;
    this.draw();
  }

  setWire(visible) {
    this.showsWire = visible;
    if (this.wire) this.wire.visible = visible;
    this.draw();
  }

  /** Look from the front, the left or the right; or from the front on the head as it is in the photo ("photo"). */
  setView(view) {
    this.view = view;
    this.mesh?.quaternion.copy(view === "photo" ? this.photoRotation : new Quaternion());
    this.place(DISTANCE, Math.PI / 2, VIEWS[view] ?? 0);
  }

  setWeight(index, value) {
    this.mesh.morphTargetInfluences[index] = value;
    this.draw();
  }

  /** Show an animation at a time in seconds. After its end, it stays as it is at its end. */
  setTime(seconds) {
    if (!this.mesh) return;
    // AnimationMixer.setTime would start the animation again at its end.
    for (const action of this.actions) action.time = Math.min(seconds, action.getClip().duration);
    // The mixer leaves a rotation as it is that it has set before.
    this.mesh.quaternion.copy(this.photoRotation);
    this.mixer.update(0);
    this.photoRotation.copy(this.mesh.quaternion);
    if (this.view !== "photo") this.mesh.quaternion.identity();
    this.draw();
  }

  resetCamera() {
    this.place(DISTANCE, Math.PI / 2, 0);
  }

  place(radius, polar, azimuth) {
    Object.assign(this.controls, { minPolarAngle: 0, maxPolarAngle: Math.PI });
    this.camera.position.setFromSpherical(new Spherical(radius, polar, azimuth));
    this.controls.update();
    this.draw();
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const at = new Spherical().setFromVector3(this.camera.position);
    const moves = {
      ArrowLeft: () => (at.theta += KEY_STEP),
      ArrowRight: () => (at.theta -= KEY_STEP),
      ArrowUp: () => (at.phi += KEY_STEP),
      ArrowDown: () => (at.phi -= KEY_STEP),
      "+": () => (at.radius /= 1.1),
      "=": () => (at.radius /= 1.1),
      "-": () => (at.radius *= 1.1),
      0: () => at.set(DISTANCE, Math.PI / 2, 0),
    };
    if (moves[event.key] === undefined) return;
    event.preventDefault();
    moves[event.key]();
    at.makeSafe();
    this.place(Math.min(Math.max(at.radius, this.controls.minDistance), this.controls.maxDistance), at.phi, at.theta);
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (width === 0 || height === 0) return;
    this.renderer.setSize(width, height, false);
    this.camera.aspect = width / height;
    // On a narrow stage the whole width of the head stays visible.
    this.camera.zoom = Math.min(1, this.camera.aspect * 1.15);
    this.camera.updateProjectionMatrix();
    this.draw();
  }

  /** Draw with the next frame of the screen. */
  draw() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      this.renderer.render(this.scene, this.camera);
    });
  }

  clear() {
    this.mixer?.stopAllAction();
    for (const each of [this.mesh?.geometry, this.photoMaterial?.map, this.photoMaterial, this.clayMaterial, this.wire?.material]) {
      each?.dispose();
    }
    this.holder.clear();
    this.mesh = undefined;
  }
}
