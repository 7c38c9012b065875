// Search runs in a worker, which browsers refuse to a page that is a file on a disk: there a hidden frame takes its place.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.opened = new Promise((opened) => {
        window.addEventListener("message", ({ source, data }) => {
          if (source !== this.frame.contentWindow) return;
          if (data === "ready") return opened();
          this.dispatchEvent(new MessageEvent("message", { data }));
        });
      });
      this.frame.srcdoc =
        "<script>var postMessage = (data) => parent.postMessage(data, '*');" +
        "function importScripts(...urls) {" +
        " for (const url of urls) document.write(`<script src=\"${url}\"><\\/script>`); }</" + "script>" +
        `<script src="${url}"></` + "script>" +
        "<script>parent.postMessage('ready', '*')</" + "script>";
      document.body.append(this.frame);
    }

    postMessage(data) {
      this.opened.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
