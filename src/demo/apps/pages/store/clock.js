const source = new EventSource("/ticker");
source.onmessage = (event) => {
  const { tick, note } = JSON.parse(event.data);
  document.getElementById("tick").textContent = tick;
  document.getElementById("note").textContent = note;
};
