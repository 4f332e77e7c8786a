// Plays a bank: all layers run in step for ever, and a change of state moves their gains at the next bar line.
const RAMP = 0.02; // seconds around a bar line in which a layer comes or goes

export async function load(context, folder = ".") {
  const bank = await (await fetch(`${folder}/bank.json`)).json();
  const read = async (file) => context.decodeAudioData(await (await fetch(`${folder}/${file}`)).arrayBuffer());
  const all = async (entries) =>
    Object.fromEntries(await Promise.all(Object.entries(entries).map(async ([name, { file }]) => [name, await read(file)])));
  return { bank, layers: await all(bank.layers), ambiences: await all(bank.ambiences), stingers: await all(bank.stingers) };
}

export class Music {
  constructor(context, { bank, layers, ambiences, stingers }, start = context.currentTime + 0.1) {
    Object.assign(this, { context, bank, stingers, start });
    this.output = new GainNode(context);
    this.output.connect(context.destination);
    this.gains = this.run(layers);
    this.places = this.run(ambiences);
    this.set(bank.states[0], start);
  }

  run(buffers) { // each loops through a gain of its own, from the same moment on
    return Object.fromEntries(Object.entries(buffers).map(([name, buffer]) => {
      const gain = new GainNode(this.context, { gain: 0 });
      const source = new AudioBufferSourceNode(this.context, { buffer, loop: true });
      source.connect(gain).connect(this.output);
      source.start(this.start);
      return [name, gain];
    }));
  }

  nextBar(now = this.context.currentTime) { // the second of the next bar line that can still be reached
    const bar = this.bank.seconds / this.bank.bars;
    return this.start + Math.max(0, Math.ceil((now - this.start + RAMP) / bar)) * bar;
  }

  set(state, at) {
    const level = 10 ** (state.gain_db / 20);
    const turn = (gain, to) => gain.gain.setTargetAtTime(to, Math.max(0, at - RAMP / 2), RAMP / 5);
    for (const [name, gain] of Object.entries(this.gains)) turn(gain, state.layers.includes(name) ? level : 0);
    for (const [name, gain] of Object.entries(this.places)) turn(gain, state.location === name ? 0.5 : 0);
    this.state = state;
  }

  ask(tension, location = this.state.location, now = this.context.currentTime) {
    const there = this.bank.states.filter((state) => state.location === location && state.from_tension <= tension);
    if (!there.length) throw new Error(`the bank has no state for ${location} at ${tension}`);
    const state = there.reduce((best, one) => (one.from_tension > best.from_tension ? one : best));
    const at = this.nextBar(now);
    if (state.name !== this.state.name) this.set(state, at);
    return at;
  }

  sting(name, at = this.nextBar()) {
    const source = new AudioBufferSourceNode(this.context, { buffer: this.stingers[name] });
    source.connect(this.output);
    source.start(at);
  }
}
