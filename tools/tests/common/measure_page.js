// Measures what a report's page shows, and leaves it as JSON between two marks at the end of the document.
const errors = [];
const fetched = [];
addEventListener("securitypolicyviolation", (event) => fetched.push(event.blockedURI));
addEventListener("error", (event) => errors.push(String(event.message)));
addEventListener("load", () => {
  const near = 0.5;
  const describe = (element) => (element.querySelector("title") || element).textContent + " " + element.outerHTML.slice(0, 90);
  const inside = (box, room) =>
    box.left >= room.left - near && box.right <= room.right + near && box.top >= room.top - near && box.bottom <= room.bottom + near;
  const overlap = (one, other) =>
    Math.min(one.right, other.right) - Math.max(one.left, other.left) > 1 &&
    Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top) > 2;
  const alike = (colour) => colour === getComputedStyle(document.querySelector("figure")).backgroundColor;
  const pictures = [...document.querySelectorAll("svg")].map((svg) => {
    const room = svg.getBoundingClientRect();
    const marks = [...svg.querySelectorAll(".mark")];
    const texts = [...svg.querySelectorAll("text")];
    const boxes = texts.map((text) => text.getBoundingClientRect());
    const overlapping = [];
    boxes.forEach((one, first) =>
      boxes.slice(first + 1).forEach((other, second) => {
        if (overlap(one, other)) overlapping.push(texts[first].textContent + " | " + texts[first + 1 + second].textContent);
      }));
    const curved = (mark) => mark.classList.contains("curve");
    const empty = marks.filter((mark) => {
      const box = mark.getBBox();
      return curved(mark) ? mark.getTotalLength() <= 0 : box.width <= 0 || box.height <= 0;
    });
    const unseen = marks.filter((mark) => {
      const style = getComputedStyle(mark);
      const colour = curved(mark) ? style.stroke : style.fill;
      return colour === "none" || alike(colour) || colour === "rgb(0, 0, 0)";
    });
    return {
      name: svg.getAttribute("aria-label") || "",
      marks: marks.length,
      texts: texts.length,
      titles: marks.filter((mark) => mark.querySelector("title").textContent.length > 3).length,
      empty: empty.map(describe),
      unseen: unseen.map(describe),
      outside: [...marks, ...texts].filter((it) => !inside(it.getBoundingClientRect(), room)).map(describe),
      overlapping,
    };
  });
  const found = {
    errors,
    pictures,
    tables: document.querySelectorAll("table").length,
    heading: document.querySelector("dl").textContent,
    fetched,
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    sideways: document.documentElement.scrollWidth > document.documentElement.clientWidth,
  };
  document.body.append("MEASURED" + JSON.stringify(found) + "MEASURED");
});
