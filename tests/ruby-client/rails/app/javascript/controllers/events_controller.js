import { Controller } from "@hotwired/stimulus"

export default class extends Controller {
  static values = { url: String }

  async connect() {
    const { token } = await (await fetch("/event_token")).json()
    const query = new URLSearchParams({ token })
    if (this.lastEventId) query.set("last_event_id", this.lastEventId)
    this.source = new EventSource(`${this.urlValue}?${query}`)
    this.source.addEventListener("messages", (event) => this.add(event))
    this.source.addEventListener("pipecast.gap", () => location.reload())
    this.source.addEventListener("error", () => this.renew())
  }

  add(event) {
    this.lastEventId = event.lastEventId
    const item = document.createElement("li")
    item.textContent = JSON.parse(event.data).text
    this.element.append(item)
  }

  // The browser reconnects by itself, until the token has expired.
  renew() {
    if (this.source.readyState === EventSource.CLOSED) setTimeout(() => this.connect(), 1000)
  }

  disconnect() {
    this.source?.close()
  }
}
