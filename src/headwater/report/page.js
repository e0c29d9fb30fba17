(() => {
  const command = document.querySelector(".command");
  if (command && navigator.clipboard) {
    const button = document.createElement("button");
    button.textContent = "Copy";
    button.onclick = async () => {
      await navigator.clipboard.writeText(command.querySelector("code").textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1600);
    };
    command.append(button);
  }
  const box = document.createElement("dialog");
  const large = box.appendChild(document.createElement("img"));
  const words = box.appendChild(document.createElement("p"));
  box.onclick = () => box.close();
  document.body.append(box);
  const open = (img) => {
    large.src = img.src;
    large.alt = words.textContent = img.alt;
    large.className = img.className;
    box.showModal();
  };
  for (const img of document.querySelectorAll("figure img")) {
    img.tabIndex = 0;
    img.onclick = () => open(img);
    img.onkeydown = (event) => { if (event.key === "Enter") open(img); };
  }
  const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const a of links.values()) a.removeAttribute("aria-current");
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-10% 0px -75%" });
  for (const section of document.querySelectorAll("section[id]")) seen.observe(section);
})();
