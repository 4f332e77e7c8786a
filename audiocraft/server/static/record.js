// The microphone as a WAV file. Browsers give it only to pages of this machine or over https.

export const canRecord = () => Boolean(window.isSecureContext && navigator.mediaDevices?.getUserMedia && window.AudioWorkletNode);

export class Recorder {
  async start() {
    const clean = { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1 };
    this._media = await navigator.mediaDevices.getUserMedia({ audio: clean });
    this._context = new AudioContext();
    await this._context.audioWorklet.addModule("/static/recorder-worklet.js");
    this._blocks = [];
    this._node = new AudioWorkletNode(this._context, "recorder", { numberOfOutputs: 0 });
    this.level = 0; // how loud it was lately, to be seen while it is recorded
    this._node.port.onmessage = ({ data }) => {
      this._blocks.push(data);
      this.level = data.reduce((most, value) => Math.max(most, Math.abs(value)), 0.9 * this.level);
    };
    this._context.createMediaStreamSource(this._media).connect(this._node);
    this._since = this._context.currentTime;
  }

  get seconds() { return this._context ? this._context.currentTime - this._since : 0; }

  /** End -> a file, or null if nothing was heard. */
  async stop() {
    this._media.getTracks().forEach((track) => track.stop());
    const rate = this._context.sampleRate;
    await this._context.close();
    const length = this._blocks.reduce((sum, block) => sum + block.length, 0);
    if (!length) return null;
    return new File([wav(this._blocks, length, rate)], "recording.wav", { type: "audio/wav" });
  }
}

function wav(blocks, length, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * length));
  const text = (at, letters) => { for (let index = 0; index < letters.length; index++) view.setUint8(at + index, letters.charCodeAt(index)); };
  text(0, "RIFF"); view.setUint32(4, 36 + 2 * length, true); text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true); view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  text(36, "data"); view.setUint32(40, 2 * length, true);
  let at = 44;
  for (const block of blocks) for (const value of block) { view.setInt16(at, 32767 * Math.max(-1, Math.min(1, value)), true); at += 2; }
  return view.buffer;
}
