internal import ByteIO
internal import GGUFFormat
internal import Llama
internal import Tensors
internal import Tokenizers

/// The tokenizer against the configuration, the embedding and the other files that name token ids.
enum LintTokenizer {
  static func check(_ subject: LintSubject, _ findings: inout [LintFinding]) {
    checkPreTokenizer(subject, &findings)
    checkDocuments(subject, &findings)
    guard let configuration = subject.configuration else { return }
    checkIDs(configuration, subject, &findings)
    guard let shell = subject.shell() else { return }
    let tokenizer: any Tokenizer
    do {
      guard let read = try shell.tokenizer() else {
        findings.append(LintFinding(.noTokenizer, "there is no tokenizer file"))
        return
      }
      tokenizer = read
    } catch {
      // One that is only too large is told by its size.
      if let read = try? shell.with(rows: 1 << 24).tokenizer(), read.vocabularySize > configuration.vocabularySize {
        return checkSize(read, configuration, subject, &findings)
      }
      let isTold = findings.contains { $0.code == .preTokenizerMissing || $0.code == .preTokenizerWrong }
      if !isTold { findings.append(LintFinding(.tokenizerUnread, any: error, file: subject.path)) }
      return
    }
    checkSize(tokenizer, configuration, subject, &findings)
    checkMerges(tokenizer, subject, &findings)
    checkSpecial(tokenizer, configuration, subject, &findings)
    checkForms(shell, configuration, &findings)
    checkTemplates(shell, tokenizer, subject, &findings)
  }

  // MARK: Sizes and ids

  private static func checkSize(
    _ tokenizer: any Tokenizer, _ configuration: LlamaConfiguration, _ subject: LintSubject,
    _ findings: inout [LintFinding]
  ) {
    let (tokens, rows) = (tokenizer.vocabularySize, configuration.vocabularySize)
    // Rows beyond the last token are padding; llama.cpp takes none.
    guard tokens > rows || (subject.kind == .gguf && tokens != rows) else { return }
    findings.append(
      LintFinding(
        .vocabularySize, "the tokenizer has \(tokens) tokens, the embedding \(rows) rows", found: "\(tokens) tokens",
        expected: "\(rows)"))
  }

  /// Lists of merges that a tool has cut. One in a thousand may be missing: recipes differ in rules that hardly matter.
  private static func checkMerges(
    _ tokenizer: any Tokenizer, _ subject: LintSubject, _ findings: inout [LintFinding]
  ) {
    guard let pairs = tokenizer as? BytePairTokenizer else { return }
    let lost = pairs.lostTokens
    guard lost.count * 1000 > pairs.vocabularySize, let first = lost.first else { return }
    let text = String(decoding: pairs.bytes(of: first) ?? [], as: UTF8.self)
    findings.append(
      LintFinding(
        .mergesMissing,
        "no merge rule makes \(lost.count) tokens such as \(first), \"\(text.prefix(40))\", which the others lead to",
        found: "\(pairs.mergeCount) rules", expected: "a rule for each token"))
  }

  /// Documents beside a tokenizer that are none: transformers reads them all.
  private static func checkDocuments(_ subject: LintSubject, _ findings: inout [LintFinding]) {
    guard subject.kind == .huggingFace || subject.kind == .meta else { return }
    for name in ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"]
    where subject.names.contains(name) {
      let path = subject.directory + "/" + name
      do {
        _ = try JSONValue(parsing: try ReadableFile.contents(of: path, limit: LayoutRecognition.configurationLimit))
      } catch {
        findings.append(LintFinding(.configurationUnreadable, any: error, file: path))
      }
    }
  }

  /// Ids that no row of the embedding has.
  private static func checkIDs(
    _ configuration: LlamaConfiguration, _ subject: LintSubject, _ findings: inout [LintFinding]
  ) {
    let ids = [("bos_token_id", configuration.beginOfTextID)] + configuration.endOfTextIDs.map { ("eos_token_id", $0) }
    for case (let key, let id?) in ids where id >= configuration.vocabularySize {
      findings.append(
        LintFinding(
          .specialIDs, "\(key) is \(id), the vocabulary has \(configuration.vocabularySize) tokens", tensor: key,
          found: "\(id)", expected: "below \(configuration.vocabularySize)"))
    }
    guard subject.kind == .huggingFace else { return }
    checkGeneration(configuration, subject, &findings)
  }

  private static func checkGeneration(
    _ configuration: LlamaConfiguration, _ subject: LintSubject, _ findings: inout [LintFinding]
  ) {
    let name = "generation_config.json"
    guard subject.names.contains(name) else { return }
    let path = subject.directory + "/" + name
    let document: JSONValue
    do {
      document = try JSONValue(
        parsing: try ReadableFile.contents(of: path, limit: LayoutRecognition.configurationLimit))
    } catch {
      findings.append(LintFinding(.configurationUnreadable, any: error, file: path))
      return
    }
    let stated = [
      ("bos_token_id", configuration.beginOfTextID.map { [$0] } ?? []), ("eos_token_id", configuration.endOfTextIDs),
    ]
    for (key, here) in stated {
      guard let value = document[key], !value.isNull else { continue }
      let ids = (value.array ?? [value]).compactMap(\.integer).filter { $0 >= 0 }
      if let id = ids.first(where: { $0 >= configuration.vocabularySize }) {
        findings.append(
          LintFinding(
            .specialIDs, "\(name): \(key) is \(id), the vocabulary has \(configuration.vocabularySize) tokens",
            file: name, tensor: key, found: "\(id)", expected: "below \(configuration.vocabularySize)"))
      } else if !here.isEmpty, !ids.isEmpty, Set(ids).isDisjoint(with: here) {
        let (one, two) = (text(ids), text(here))
        findings.append(
          LintFinding(
            .generationConfiguration, "\(name) says \(key) \(one), config.json says \(two)", file: name, tensor: key,
            found: one, expected: two))
      }
    }
  }

  private static func text(_ ids: [Int]) -> String { ids.map(String.init).joined(separator: ", ") }

  private static func checkSpecial(
    _ tokenizer: any Tokenizer, _ configuration: LlamaConfiguration, _ subject: LintSubject,
    _ findings: inout [LintFinding]
  ) {
    let begin = tokenizer.beginOfText.map(Int.init)
    // Meta's parameters say nothing about tokens: what the reader fills in is no statement.
    guard subject.kind != .meta else { return }
    if begin != configuration.beginOfTextID {
      let (one, two) = (begin.map(String.init) ?? "none", configuration.beginOfTextID.map(String.init) ?? "none")
      findings.append(
        LintFinding(
          .beginOfText, "the tokenizer's begin-of-text id is \(one), config.json says \(two)", found: one,
          expected: two))
    }
    let ends = tokenizer.endOfText.map(Int.init)
    if !ends.isEmpty, !configuration.endOfTextIDs.isEmpty, Set(ends).isDisjoint(with: configuration.endOfTextIDs) {
      let (one, two) = (text(ends), text(configuration.endOfTextIDs))
      findings.append(
        LintFinding(
          .endOfText, "the tokenizer's end-of-text ids are \(one), config.json says \(two)", found: one, expected: two))
    }
  }

  // MARK: Forms and templates

  /// Without the key llama.cpp splits text by another rule and says so in a log that nobody reads.
  private static func checkPreTokenizer(_ subject: LintSubject, _ findings: inout [LintFinding]) {
    guard subject.kind == .gguf, let metadata = subject.metadata else { return }
    let key = "tokenizer.ggml.pre"
    guard case .string(let model)? = metadata["tokenizer.ggml.model"], model.text == TokenizerKeys.byteLevelModel else {
      return
    }
    let file = subject.files.first?.name
    guard case .string(let value)? = metadata[key], let pre = value.text else {
      findings.append(
        LintFinding(
          .preTokenizerMissing, "there is no \(key): llama.cpp splits text by its default rule", file: file,
          tensor: key, expected: TokenizerKeys.llama3Split))
      return
    }
    guard !TokenizerKeys.splitsAsLlama3(pre) else { return }
    findings.append(
      LintFinding(
        .preTokenizerWrong, "\(key) is \(pre.prefix(80)), Llama 3's is \(TokenizerKeys.llama3Split)", file: file,
        tensor: key, found: String(pre.prefix(80)), expected: TokenizerKeys.llama3Split))
  }

  /// `tokenizer.json` and `tokenizer.model` side by side: readers differ in which they take.
  private static func checkForms(
    _ shell: Checkpoint, _ configuration: LlamaConfiguration, _ findings: inout [LintFinding]
  ) {
    let digests = Checkpoint.tokenizerNames.compactMap { name -> String? in
      guard let file = shell.sidecars.first(where: { $0.name == name }) else { return nil }
      let alone = shell.with(sidecars: shell.sidecars.filter { !Checkpoint.tokenizerNames.contains($0.name) } + [file])
      do {
        return try alone.tokenizer().map { SHA256Sum.hexadecimal(of: $0.canonicalForm) }
      } catch {
        // The other form was read; a reader that prefers this one meets it all the same.
        findings.append(LintFinding(.tokenizerUnread, any: error, file: file.path))
        return nil
      }
    }
    guard digests.count == 2, digests[0] != digests[1] else { return }
    let names = Checkpoint.tokenizerNames
    findings.append(
      LintFinding(
        .tokenizersDiffer, "\(names[0]) and \(names[1]) are not the same tokenizer", file: names[0],
        found: digests[0], expected: digests[1]))
  }

  private static func checkTemplates(
    _ shell: Checkpoint, _ tokenizer: any Tokenizer, _ subject: LintSubject, _ findings: inout [LintFinding]
  ) {
    let beside = (try? shell.sidecarContents("chat_template.jinja")).flatMap { $0 }.map {
      String(decoding: $0, as: UTF8.self)
    }
    let config = (try? shell.sidecarContents("tokenizer_config.json")).flatMap { $0 }
    let inside = config.flatMap { try? JSONValue(parsing: $0) }?["chat_template"]?.string
    if let beside, let inside, beside != inside {
      findings.append(
        LintFinding(
          .chatTemplatesDiffer, "chat_template.jinja and chat_template of tokenizer_config.json differ",
          file: "chat_template.jinja"))
    }
    guard let template = beside ?? inside ?? shell.tokenizerKeys?.chatTemplate else { return }
    let known = Set(tokenizer.specialTokens.map(\.text))
    let strange = Set(specialNames(in: template)).subtracting(known).sorted()
    guard !strange.isEmpty else { return }
    findings.append(
      LintFinding(
        .chatTemplateTokens,
        "the chat template writes \(strange.joined(separator: ", ")), which the tokenizer does not have",
        file: beside != nil
          ? "chat_template.jinja" : inside != nil ? "tokenizer_config.json" : subject.files.first?.name,
        found: strange.joined(separator: ", "), expected: "special tokens of the tokenizer"))
  }

  /// Names of the form `<|name|>` that stand in a template.
  private static func specialNames(in template: String) -> [String] {
    var names: [String] = []
    var rest = template[...]
    // A template of a megabyte has a few dozen.
    while names.count < 10_000, let start = rest.firstRange(of: "<|") {
      rest = rest[start.upperBound...]
      guard let end = rest.firstRange(of: "|>") else { break }
      let name = rest[..<end.lowerBound]
      let isName =
        !name.isEmpty && name.utf8.count <= 64
        && name.utf8.allSatisfy {
          UInt8(ascii: "a")...UInt8(ascii: "z") ~= $0 | 0x20 || 0x30...0x39 ~= $0 || $0 == 0x5F
        }
      if isName {
        names.append("<|\(name)|>")
        rest = rest[end.upperBound...]
      }
    }
    return names
  }
}

extension LintSubject {
  /// A checkpoint without tensors, to read its tokenizer by; nil where not even its configuration is known.
  fileprivate func shell() -> Checkpoint? {
    if let checkpoint { return checkpoint }
    guard let configuration, kind == .huggingFace || kind == .meta,
      let sidecars = try? Sidecars.collect(in: directory, consumed: [])
    else { return nil }
    return Checkpoint(
      path: path, layout: kind == .meta ? .meta : .huggingFace, configuration: configuration,
      configurationDocument: document ?? .null, quantization: nil, tensors: [],
      census: Census(configuration, entries: [], dialect: kind.dialect), sidecars: sidecars.carried, leftBehind: [],
      inputFiles: [], notes: [])
  }
}

extension Checkpoint {
  /// The same with other files beside it or more rows for tokens, and nothing else but the tokenizer to ask for.
  fileprivate func with(sidecars: [SidecarFile]? = nil, rows: Int? = nil) -> Checkpoint {
    var configuration = configuration
    if let rows { configuration.vocabularySize = rows }
    return Checkpoint(
      path: path, layout: layout, configuration: configuration, configurationDocument: configurationDocument,
      quantization: nil, tensors: [], census: census, sidecars: sidecars ?? self.sidecars, leftBehind: [],
      inputFiles: [], notes: [], directory: directory)
  }
}
