// A GIF begins when it was read, each at another moment. Given a new address, all of a card
// begin again together, so that frames side by side are of one time. A card is dealt with
// when it comes near the screen: a long page has hundreds of clips.
const begin = async (card) => {
  const clips = [...card.querySelectorAll("img[data-clip]")];
  const files = await Promise.all(clips.map(async (clip) => (await fetch(clip.src)).blob()));
  clips.forEach((clip, i) => { clip.src = URL.createObjectURL(files[i]); });
};
const near = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    near.unobserve(target);
    begin(target);
  }
}, { rootMargin: "300px" });
addEventListener("load", () => {
  document.querySelectorAll("article").forEach((card) => near.observe(card));
});
