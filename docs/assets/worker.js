// Browsers start no workers from files. This one, for the search, runs its script in a hidden frame.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.onmessage = null
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.appendChild(frame)
      this.frame = frame
      window.addEventListener("message", event => {
        if (event.source !== frame.contentWindow) return
        const answer = new MessageEvent("message", { data: event.data })
        this.dispatchEvent(answer)
        if (this.onmessage) this.onmessage(answer)
      })
      const inside = frame.contentWindow.document
      inside.open()
      inside.write(
        "<!doctype html><script>var postMessage = parent.postMessage.bind(parent); var importScripts = () => {}</" +
        `script><script src="${url}"></` + "script>"
      )
      inside.close()
      this.ready = new Promise(resolve => frame.addEventListener("load", resolve))
    }
    postMessage(data) {
      this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })))
    }
    terminate() { this.frame.remove() }
  }
}
