// Work that is asked for faster than it can be done: the newest request counts.

import { whileBusy } from "./ui.mjs";

/** Runs the newest of many requests, one at a time: nothing old is shown after something new. */
export class Latest {
  /**
   * `run` takes what was requested, unless the page has another model by then; where it fails, the page says so. The
   * element is marked as busy meanwhile.
   */
  constructor(app, element, run) {
    this.app = app;
    this.element = element;
    this.run = run;
    this.waiting = null;
    this.running = false;
  }

  async request(value) {
    this.waiting = { value, model: this.app.model };
    if (this.running) return;
    this.running = true;
    await whileBusy(this.element, async () => {
      while (this.waiting) {
        const { value: newest, model } = this.waiting;
        this.waiting = null;
        if (model === this.app.model) await this.app.attempt(() => this.run(newest));
      }
    });
    this.running = false;
  }
}
