// A GIF begins when it was read, each at another moment. Given a new address, all
// begin again together, so that frames side by side are of one time.
addEventListener("load", async () => {
  const clips = [...document.querySelectorAll("img[data-clip]")];
  const files = await Promise.all(clips.map(async (clip) => (await fetch(clip.src)).blob()));
  clips.forEach((clip, i) => { clip.src = URL.createObjectURL(files[i]); });
});
