// The window's half of editor.py. Every change of the text is made here, in one order: what is typed is sent whole,
// and what others have written into the file is taken up only while nothing has been typed that the room does not know.
window.kata = {
  async begin(id, file, base, line, label, enabled) {
    const element = getElement(id);
    const view = element.editor ?? (await element.editorPromise);
    Object.assign(this, { id, file, base, sent: 0, unsaved: false });
    const { EditorView, StateEffect } = await import("nicegui-codemirror");
    const listener = EditorView.updateListener.of((update) => {
      if (update.docChanged && !this.taking) this.send();
    });
    view.dispatch({ effects: StateEffect.appendConfig.of(listener) });
    view.contentDOM.setAttribute("aria-label", label);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const colour = () => element.setTheme(dark.matches ? "vscodeDark" : "vscodeLight");
    dark.addEventListener("change", colour);
    colour();
    element.setDisabled(!enabled);
    if (line) view.scrollDOM.scrollTop = view.lineBlockAt(view.state.doc.line(line).from).top - 60;
    // What was typed while the room was away, or before this very moment.
    const shown = element.value;
    const key = "kata " + file;
    const kept = JSON.parse(sessionStorage.getItem(key) ?? localStorage.getItem(key) ?? "null");
    sessionStorage.removeItem(key);
    localStorage.removeItem(key);
    if (kept && kept.text !== this.text()) {
      this.base = kept.base;
      this.replace(kept.text);
    }
    if (this.text() !== shown) this.send();
    return this.base;
  },
  text() {
    return getElement(this.id).editor.state.doc.toString();
  },
  send() {
    this.sent += 1;
    this.unsaved = true;
    emitEvent("kata_typed", this.text());
  },
  // The room has saved the text that was sent as number `heard`.
  saved(base, heard) {
    this.base = base;
    this.unsaved = this.sent !== heard;
  },
  replace(text) {
    this.taking = true;
    getElement(this.id).setEditorValue(text);
    this.taking = false;
  },
  // Shows `text`, with the digest `base`, in the place of `known`; null stands for whatever is there.
  take(known, text, base) {
    if (known !== null && this.text() !== known && this.text() !== text) return false;
    this.replace(text);
    this.base = base;
    this.unsaved = false;
    return true;
  },
  // Keeps what may not have been saved, over a reload, or for the next window if there is no room to save it.
  keep() {
    if (!this.unsaved) return;
    const storage = window.socket?.connected ? sessionStorage : localStorage;
    storage.setItem("kata " + this.file, JSON.stringify({ base: this.base, text: this.text() }));
  },
};
addEventListener("pagehide", () => kata.keep());
