// The slide itself: OpenSeadragon, and a canvas above it for the overlay and outlines.

const OPTIONS = {
  drawer: "canvas", // sharp pixels at whole zooms, and no need of a GPU
  showNavigationControl: false, showNavigator: true, navigatorPosition: "BOTTOM_RIGHT",
  navigatorSizeRatio: 0.16, navigatorAutoFade: false, navigatorBackground: "#fff", navigatorOpacity: 1,
  navigatorBorderColor: "#dfe3e2", navigatorDisplayRegionColor: "#2a6f8f", animationTime: 0.5, springStiffness: 9,
  maxZoomPixelRatio: 6, minZoomImageRatio: 0.6, visibilityRatio: 0.3, zoomPerScroll: 1.4,
  imageLoaderLimit: 8, preserveImageSizeOnResize: true, timeout: 60000,
  gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
};

export class Stage {
  /** draw(context, toScreen) paints above the slide whenever that moves. */
  constructor(place, draw) {
    // OpenSeadragon would add a style element, which our policy forbids, unless it finds its own:
    // this one has the name and no meaning
    const mark = document.createElementNS("urn:none", "style");
    mark.setAttribute("data-openseadragon-mobile-css", "none");
    document.head.append(mark);
    this.viewer = OpenSeadragon({ element: place, ...OPTIONS });
    this.viewer.innerTracker.keyDownHandler = null; // the page has its own keys
    this.viewer.innerTracker.keyHandler = null;
    this.canvas = document.createElement("canvas");
    this.canvas.className = "overlay";
    this.viewer.canvas.append(this.canvas);
    this.paint = draw;
    this.viewer.addHandler("update-viewport", () => this.draw());
    this.viewer.addHandler("resize", () => this.draw());
  }

  get image() {
    return this.viewer.world.getItemAt(0);
  }

  /** Tiles of a slide in a style, as OpenSeadragon asks for them. */
  source(slide, style) {
    const named = `slide=${encodeURIComponent(slide.id)}&v=${encodeURIComponent(slide.version)}`;
    return {
      width: slide.width, height: slide.height, tileSize: slide.tile_px, tileOverlap: 0,
      minLevel: slide.min_level, maxLevel: slide.max_level,
      getTileUrl: (level, x, y) => `tiles/${style}/${level}/${x}/${y}?${named}`,
    };
  }

  /** Show another slide; resolves when it is there. */
  open(slide, style) {
    return new Promise((resolve, reject) => {
      this.viewer.addOnceHandler("open", resolve);
      this.viewer.addOnceHandler("open-failed", reject);
      this.viewer.open(this.source(slide, style));
    });
  }

  close() {
    this.viewer.close();
    this.draw();
  }

  /** Show the same slide in another style, from where one stands. */
  restyle(slide, style) {
    this.viewer.addTiledImage({ tileSource: this.source(slide, style), index: 0, replace: true });
  }

  /** Center in level-0 pixels, and screen pixels per level-0 pixel. */
  view() {
    if (!this.image) return {};
    const center = this.image.viewportToImageCoordinates(this.viewer.viewport.getCenter(false));
    const zoom = this.image.viewportToImageZoom(this.viewer.viewport.getZoom(false));
    return { x: Math.round(center.x), y: Math.round(center.y), zoom: Number(zoom.toPrecision(4)) };
  }

  /** Go to a view; what it does not say stays. */
  go({ x, y, zoom }, immediately = false) {
    const { viewport } = this.viewer;
    if (!this.image) return;
    if (zoom > 0) viewport.zoomTo(this.image.imageToViewportZoom(zoom), null, immediately);
    if (x !== undefined && y !== undefined) {
      viewport.panTo(this.image.imageToViewportCoordinates(x, y), immediately);
    }
    viewport.applyConstraints(immediately);
  }

  home() {
    this.viewer.viewport.goHome();
  }

  zoomBy(factor) {
    this.viewer.viewport.zoomBy(factor);
    this.viewer.viewport.applyConstraints();
  }

  /** Move by shares of what is seen. */
  panBy(x, y) {
    const { width, height } = this.viewer.viewport.getBounds();
    this.viewer.viewport.panBy(new OpenSeadragon.Point(x * width, y * height));
    this.viewer.viewport.applyConstraints();
  }

  /** Level-0 position under a mouse event. */
  position(event) {
    const box = this.canvas.getBoundingClientRect();
    const point = new OpenSeadragon.Point(event.clientX - box.left, event.clientY - box.top);
    return this.image.viewerElementToImageCoordinates(point);
  }

  /** Screen pixels per level-0 pixel, just now. */
  scale() {
    return this.image.viewportToImageZoom(this.viewer.viewport.getZoom(true));
  }

  draw() {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (this.canvas.width !== width * ratio || this.canvas.height !== height * ratio) {
      [this.canvas.width, this.canvas.height] = [width * ratio, height * ratio];
    }
    const context = this.canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const { image } = this;
    if (!image) return;
    this.paint(context, (x, y) => {
      const point = image.imageToViewerElementCoordinates(new OpenSeadragon.Point(x, y));
      return [point.x, point.y];
    });
  }
}
