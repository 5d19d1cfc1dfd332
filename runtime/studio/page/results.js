// Results by name: the group that they are listed in, and words for people who don't know the name.

const PICTURES = "Pictures, one for each frame";
const VIDEOS = "Videos";
const FILES = "Annotations";

const WORDS = {
  overlay: [VIDEOS, "Masks over the video"],
  matte: [VIDEOS, "Black and white matte"],
  "green-screen": [VIDEOS, "Objects before green"],
  "alpha-prores": [VIDEOS, "Transparent, for editors"],
  "alpha-vp9": [VIDEOS, "Transparent, for the web"],
  blur: [VIDEOS, "Objects blurred"],
  pixelate: [VIDEOS, "Objects pixelated"],
  colour: [VIDEOS, "Objects in one colour"],
  palette: [PICTURES, "PNG masks, all objects"],
  binary: [PICTURES, "PNG masks, black and white"],
  cutouts: [PICTURES, "Objects cut out, PNG"],
  coco: [FILES, "COCO"],
  "youtube-vis": [FILES, "YouTube-VIS"],
  mots: [FILES, "MOTS"],
  labelme: [FILES, "LabelMe"],
  "cvat-images": [FILES, "CVAT for images"],
  "cvat-video": [FILES, "CVAT for video"],
  "label-studio": [FILES, "Label Studio"],
  store: [FILES, "Run-length store"],
};
const ORDER = Object.keys(WORDS);
const place = ({ name }) => (ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length);

// Groups of options for a list of results; their values are the names that `--write` knows.
export function groupsOf(results) {
  const groups = new Map();
  for (const result of [...results].sort((one, other) => place(one) - place(other))) {
    const [title, words] = WORDS[result.name] ?? ["More", ""];
    if (!groups.has(title)) groups.set(title, Object.assign(document.createElement("optgroup"), { label: title }));
    const choice = new Option(words ? `${words} (${result.name})` : result.name, result.name);
    choice.disabled = Boolean(result.missing);
    groups.get(title).append(choice);
  }
  return [...groups.values()];
}
