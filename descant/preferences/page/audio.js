// Two clips that never sound together, and change over at an exact sample: both are scheduled on one clock.

const AHEAD = 0.03; // seconds that scheduling is ahead of the sound
const FADE = 0.005; // seconds, so that a cut does not click

export class Player {
  // `changed(side, what, position)` is called with play, pause, switch and end.
  constructor(changed) {
    this.changed = changed;
    this.context = null;
    this.buffers = new Map(); // by clip: of this pair and the next
    this.clips = { left: null, right: null };
    this.reset();
  }

  reset() {
    this.at = { left: 0, right: 0 }; // where each clip stands, in seconds
    this.heard = { left: 0, right: 0 };
    this.playing = null;
    this.source = null;
  }

  // Browsers give no sound before a key or a click.
  wake() {
    this.context ??= new AudioContext();
    if (this.context.state === "suspended") this.context.resume();
  }

  // Fetch and decode a clip once; decoding needs no sound device.
  load(clip) {
    if (!this.buffers.has(clip)) {
      const fetched = fetch(`/clips/${clip}/sound.wav`).then(async (answer) => {
        if (!answer.ok) throw new Error(`no sound (${answer.status})`);
        const decoder = new OfflineAudioContext(1, 1, 44100);
        return decoder.decodeAudioData(await answer.arrayBuffer());
      });
      fetched.catch(() => this.buffers.delete(clip)); // it may come another time
      this.buffers.set(clip, fetched);
    }
    return this.buffers.get(clip);
  }

  // A side that is null has nothing to hear.
  async show(left, right) {
    this.stop();
    this.reset();
    const [a, b] = await Promise.all([left, right].map((clip) => clip && this.load(clip)));
    this.clips = { left: a, right: b };
  }

  // Forget all sounds but these.
  keep(clips) {
    for (const clip of this.buffers.keys()) if (!clips.includes(clip)) this.buffers.delete(clip);
  }

  clear() {
    this.stop();
    this.reset();
    this.clips = { left: null, right: null };
  }

  // Seconds that a side has sounded since the play began, and where it stands now.
  running() {
    return this.playing ? Math.max(0, this.context.currentTime - this.began) : 0;
  }

  position(side) {
    const now = this.at[side] + (this.playing === side ? this.running() : 0);
    return Math.min(now, this.duration(side));
  }

  duration(side) {
    return this.clips[side] ? this.clips[side].duration : 0;
  }

  listened(side) {
    return this.heard[side] + (this.playing === side ? this.running() : 0);
  }

  toggle(side) {
    if (!this.clips[side]) return;
    this.wake();
    if (this.playing === side) {
      this.stop();
      this.changed(side, "pause", this.at[side]);
      return;
    }
    this.stop();
    this.start(side, this.context.currentTime + AHEAD);
    this.changed(side, "play", this.at[side]);
  }

  // The other clip from the same place, at the very sample where this one ends.
  swap() {
    const other = this.playing === "left" ? "right" : "left";
    if (!this.playing || !this.clips[other]) return;
    const when = this.context.currentTime + AHEAD;
    this.stop(when);
    const place = this.at[other === "left" ? "right" : "left"];
    this.at[other] = place < this.duration(other) ? place : 0;
    this.start(other, when);
    this.changed(other, "switch", this.at[other]);
  }

  start(side, when) {
    const buffer = this.clips[side];
    if (this.at[side] >= buffer.duration - 0.02) this.at[side] = 0;
    const gain = this.context.createGain();
    gain.gain.setValueAtTime(0, when);
    gain.gain.linearRampToValueAtTime(1, when + FADE);
    gain.connect(this.context.destination);
    const node = this.context.createBufferSource();
    node.buffer = buffer;
    node.connect(gain);
    node.start(when, this.at[side]);
    const source = { node, gain };
    node.onended = () => {
      if (this.source === source) this.end(side);
    };
    this.source = source;
    this.playing = side;
    this.began = when;
  }

  settle(when) {
    const side = this.playing;
    const sounded = Math.max(0, Math.min(when - this.began, this.duration(side) - this.at[side]));
    this.heard[side] += sounded;
    this.at[side] += sounded;
    this.playing = null;
    this.source = null;
  }

  stop(when) {
    if (!this.playing) return;
    const at = when ?? this.context.currentTime + FADE;
    const { node, gain } = this.source;
    node.onended = null;
    gain.gain.cancelScheduledValues(at - FADE);
    gain.gain.setValueAtTime(1, at - FADE);
    gain.gain.linearRampToValueAtTime(0, at);
    node.stop(at);
    this.settle(at);
  }

  end(side) {
    this.settle(Infinity);
    this.changed(side, "end", this.at[side]);
  }
}
