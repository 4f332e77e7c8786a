// Plays a piece while it arrives: short buffers placed one behind the other on the audio clock, without gaps.
// Where there is no Web Audio, an audio element plays the same stream.

const AHEAD = 1.5; // seconds placed in advance
const BLOCK = 0.5; // the longest buffer
const FIRST = 0.3; // seconds to have before beginning
const AGAIN = 0.8; // and after running dry
const LEAD = 0.06; // between deciding to play and the first sample

export class Player extends EventTarget {
  constructor() {
    super();
    this.piece = null;
    this.wanted = false; // whether it should play, as opposed to whether it has something to play
    this.loop = false;
    this._volume = 0.9;
    this._context = null;
    this._sources = new Set();
    this._anchor = null; // {time, sample}: this sample sounds at this time
    this._next = 0; // first sample not yet placed
    this._rest = 0; // where it stands while it does not play
    this._wish = 0; // seconds into a piece that has not come so far yet: it begins there
    this._dry = false;
    this._onData = () => this._pump();
    setInterval(() => this._pump(), 150);
  }

  static get supported() { return "AudioContext" in window; }

  get volume() { return this._volume; }
  set volume(value) {
    this._volume = value;
    if (this._gain) this._gain.gain.setTargetAtTime(value ** 2, this._context.currentTime, 0.015);
  }

  /** Call from a click or key: browsers allow sound only then. */
  unlock(rate = 0) {
    if (!this._context) this._open(rate || 24000);
    if (this._context.state !== "running") this._context.resume().catch(() => {});
  }

  /** Another piece; with `at`, from that second on, so that two can be compared at the same moment. */
  show(piece, play, at = 0) {
    if (this.piece !== piece) {
      this._silence();
      this.piece?.removeEventListener("data", this._onData);
      this.piece = piece;
      this._rest = this._next = 0;
      this._wish = at;
      this._grant();
      piece.addEventListener("data", this._onData);
      piece.load();
    }
    if (play) this.play();
    else this._tell();
  }

  play() {
    if (!this.piece) return;
    this.unlock(this.piece.rate);
    this.wanted = true;
    if (this.piece.complete && this._rest >= this.piece.length - 1) this._rest = 0;
    this._next = Math.floor(this._rest);
    this._dry = false;
    this._pump();
    this._tell();
  }

  pause() {
    if (this.piece) this._rest = this._at();
    this.wanted = false;
    this._silence();
    this._tell();
  }

  toggle() { if (this.wanted) this.pause(); else this.play(); }

  seek(seconds) {
    if (!this.piece?.rate) return;
    const limit = this.piece.length;
    this._silence();
    this._wish = 0;
    this._rest = this._next = Math.max(0, Math.min(Math.floor(seconds * this.piece.rate), limit - 1));
    this._pump();
    this._tell();
  }

  /** Seconds into the piece that can be heard now. */
  get position() { return this._wish || (this.piece?.rate ? this._at() / this.piece.rate : 0); }
  get waiting() { return this.wanted && this._anchor === null; }

  /** How loud it is at the moment: the root mean square of what leaves for the loudspeaker. */
  level() {
    if (!this._analyser) return 0;
    const samples = new Float32Array(this._analyser.fftSize);
    this._analyser.getFloatTimeDomainData(samples);
    return Math.sqrt(samples.reduce((sum, value) => sum + value * value, 0) / samples.length);
  }

  _open(rate) {
    this._context?.close();
    // At the rate of the piece: buffers resampled one by one would click where they meet.
    this._context = new AudioContext({ sampleRate: rate, latencyHint: "interactive" });
    this._gain = this._context.createGain();
    this._gain.gain.value = this._volume ** 2;
    this._analyser = this._context.createAnalyser();
    this._analyser.fftSize = 2048;
    this._gain.connect(this._analyser).connect(this._context.destination);
  }

  /** Stand where it should begin, once the piece has come so far -> whether it may begin. */
  _grant() {
    if (!this._wish) return true;
    const sample = Math.floor(this._wish * this.piece.rate);
    if (!this.piece.rate || (this.piece.length <= sample && !this.piece.complete)) return false;
    this._rest = this._next = sample < this.piece.length ? sample : 0;
    this._wish = 0;
    return true;
  }

  _at() {
    if (!this._anchor) return this._rest;
    const heard = this._anchor.sample + (this._context.currentTime - this._anchor.time) * this.piece.rate;
    return Math.max(this._anchor.sample, Math.min(heard, this._next));
  }

  _pump() {
    const piece = this.piece;
    if (this.wanted && piece?.complete && !piece.length) { this.wanted = false; this._tell(); }
    if (!this._grant() || !this.wanted || !piece?.rate) return;
    if (this._context.sampleRate !== piece.rate) { this._silence(); this._open(piece.rate); this.unlock(); }
    this._notice();
    if (!this.wanted) return;
    if (!this._anchor) {
      const enough = (this._dry ? AGAIN : FIRST) * piece.rate;
      if (piece.length - this._next < enough && !piece.complete) return;
      if (this._next >= piece.length) { this._end(); return; }
      this._anchor = { time: this._context.currentTime + LEAD, sample: this._next };
      this._tell();
    }
    while (this._next < piece.length && this._startOf(this._next) < this._context.currentTime + AHEAD) this._place();
  }

  /** See whether what was placed has been played to its end: that of the piece, or of what has come so far. */
  _notice() {
    if (!this._anchor || this._context.currentTime < this._startOf(this._next)) return;
    if (this._next < this.piece.length) { // late, because the page was busy: go on from here
      this._anchor = { time: this._context.currentTime + LEAD, sample: this._next };
      return;
    }
    this._rest = this._next;
    this._anchor = null;
    if (this.piece.complete) this._end();
    else { this._dry = true; this._tell(); }
  }

  _end() {
    this._silence();
    this._rest = this._next = 0;
    if (this.loop && this.piece.length) { this._pump(); return; }
    this.wanted = false;
    this._rest = this.piece.length;
    this._tell();
    this.dispatchEvent(new Event("end"));
  }

  _startOf(sample) { return this._anchor.time + (sample - this._anchor.sample) / this.piece.rate; }

  _place() {
    const count = Math.min(Math.floor(BLOCK * this.piece.rate), this.piece.length - this._next);
    const buffer = this._context.createBuffer(this.piece.channels.length, count, this.piece.rate);
    this.piece.channels.forEach((samples, channel) => {
      buffer.copyToChannel(samples.subarray(this._next, this._next + count), channel);
    });
    const source = new AudioBufferSourceNode(this._context, { buffer });
    source.connect(this._gain);
    source.start(this._startOf(this._next));
    source.onended = () => this._sources.delete(source);
    this._sources.add(source);
    this._next += count;
  }

  _silence() {
    for (const source of this._sources) { source.onended = null; source.stop(); source.disconnect(); }
    this._sources.clear();
    this._anchor = null;
  }

  _tell() { this.dispatchEvent(new Event("state")); }
}

/** The same for browsers without Web Audio: the element asks the server for the stream itself. */
export class ElementPlayer extends EventTarget {
  constructor() {
    super();
    this.piece = null;
    this._element = new Audio();
    for (const name of ["play", "pause", "waiting", "playing"]) {
      this._element.addEventListener(name, () => this.dispatchEvent(new Event("state")));
    }
    this._element.addEventListener("ended", () => this.dispatchEvent(new Event("end")));
  }

  get wanted() { return !this._element.paused; }
  get waiting() { return this.wanted && this._element.readyState < 3; }
  get position() { return this._element.currentTime; }
  get loop() { return this._element.loop; }
  set loop(value) { this._element.loop = value; }
  get volume() { return this._element.volume; }
  set volume(value) { this._element.volume = value; }
  unlock() {}
  level() { return 0; }
  play() { this._element.play().catch(() => {}); }
  pause() { this._element.pause(); }
  toggle() { if (this.wanted) this.pause(); else this.play(); }
  seek(seconds) { this._element.currentTime = seconds; }

  show(piece, play, at = 0) {
    if (this.piece !== piece) {
      this.piece = piece;
      piece.load();
      this._element.src = `/v1/generations/${piece.id}/stream?format=wav`;
      if (at) this._element.addEventListener("loadedmetadata", () => this.seek(at), { once: true });
    }
    if (play) this.play();
  }
}
