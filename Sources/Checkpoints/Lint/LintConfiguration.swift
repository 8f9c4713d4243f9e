internal import ByteIO
internal import GGUFFormat
internal import Kernels
internal import Llama
internal import Quantization
internal import Tensors

/// Reading what describes the model, as far as it can be read.
extension LintSubject {
  /// `config.json` of a Hugging Face directory.
  mutating func readConfiguration(_ findings: inout [LintFinding]) {
    let name = LayoutRecognition.configurationName
    let path = directory + "/" + name
    guard names.contains(name) else {
      findings.append(LintFinding(.missingFile, "there is no \(name)", file: name, expected: name))
      return
    }
    do {
      let bytes = try ReadableFile.contents(of: path, limit: LayoutRecognition.configurationLimit)
      document = try JSONValue(parsing: bytes)
    } catch {
      findings.append(LintFinding(.configurationUnreadable, any: error, file: path))
      return
    }
    readDocument(path, &findings)
  }

  /// Configuration and quantization of `document`.
  mutating func readDocument(_ path: String, _ findings: inout [LintFinding]) {
    guard let document else { return }
    do throws(ParseFailure) {
      configuration = try LlamaConfiguration(huggingFace: document)
    } catch {
      findings.append(LintFinding(Self.code(of: error), error.in(file: path)))
    }
    for key in ["quantization_config", "compression_config"] {
      guard let value = document[key], !value.isNull else { continue }
      do throws(ParseFailure) {
        quantization = try QuantizationConfiguration(parsing: value)
        return
      } catch {
        hasUnreadQuantization = true
        findings.append(LintFinding(.quantizationUnread, error.in(file: path)))
      }
    }
  }

  /// Which kind of configuration failure this is: the readers name the key at the start of the message.
  private static func code(of failure: ParseFailure) -> LintCode {
    let message = failure.message
    let ropeKeys = [
      "rope_", "factor is", "low_freq_factor", "high_freq_factor", "original_max_position", "partial_rotary_factor",
    ]
    if ropeKeys.contains(where: { message.hasPrefix($0) }) || failure.item == GGUFKeys.ropeFactors
      || failure.item?.hasPrefix("llama.rope.") == true
    {
      return .ropeUnreadable
    }
    let others = [
      "the architecture is", "model_type is", "text_config is", "vision_config is", "num_experts is",
      "num_local_experts is", "the file is of type",
    ]
    return others.contains { message.hasPrefix($0) } ? .unsupportedModel : .configurationUnreadable
  }

  /// The keys of a GGUF.
  mutating func readKeys(_ source: GGUFSplitSet, _ findings: inout [LintFinding]) {
    do {
      configuration = try GGUFKeys.configuration(
        source.metadata, tensors: source, factors: try GGUFModel.ropeFactors(source))
    } catch let failure as ParseFailure {
      findings.append(LintFinding(Self.code(of: failure), failure.in(file: source.place)))
    } catch {
      findings.append(LintFinding(.unreadableFile, any: error, file: source.place))
    }
  }

  /// Opens the checkpoint as a conversion would, once nothing wrong was found by then: what that refuses is told.
  mutating func openStrictly(_ findings: inout [LintFinding]) {
    guard configuration != nil || kind == .meta || kind == .compact, !lacksFiles, !hasUnreadQuantization else { return }
    do {
      let opened = try LayoutRecognition.open(path)
      self.opened = opened
      configuration = opened.configuration
      // The tokenizer is inside; what else that refuses is told tensor by tensor.
      if kind == .gguf || kind == .compact { checkpoint = try? opened.checkpoint() }
    } catch {
      // What has been told already is not told again.
      if !findings.contains(where: { $0.severity == .error }) {
        findings.append(LintFinding(.contradiction, any: error, file: path))
      }
    }
  }
}

/// The tensors against the configuration.
enum LintStructure {
  static func check(_ subject: LintSubject, _ findings: inout [LintFinding]) {
    guard let census = census(subject) else { return }
    let explained = LintQuantization.explainedTensors(findings)
    for problem in census.problems {
      // A tensor in a file that could not be opened is no finding of its own.
      if subject.lacksFiles, case .missing = problem { continue }
      if subject.lacksFiles, case .missingScale = problem { continue }
      if explained.contains(problem.tensor) || explained.contains(LintQuantization.module(problem.tensor)) { continue }
      findings.append(finding(problem))
    }
  }

  /// By the strict reader where it has got so far; else of the names alone.
  private static func census(_ subject: LintSubject) -> Census? {
    if let opened = subject.opened { return opened.census }
    guard let configuration = subject.configuration, !subject.hasUnreadQuantization, subject.kind == .huggingFace else {
      return nil
    }
    let modules = Modules(configuration, subject.quantization)
    guard !modules.arePacked else { return nil }
    let entries = subject.tensors.map {
      Census.Entry(name: $0.info.name, elementType: $0.info.elementType, shape: $0.info.shape)
    }
    return Census(configuration, entries: entries, dialect: .huggingFace, companions: modules.companions)
  }

  private static func finding(_ problem: CensusProblem) -> LintFinding {
    var found: String?
    var expected: String?
    let code: LintCode
    switch problem {
    case .missing(_, .outputHead): code = .missingHead
    case .missing: code = .missingTensor
    case .missingScale: code = .missingScale
    case .extra: code = .extraTensor
    case .layerBeyondCount(_, let count):
      code = .layerBeyondCount
      expected = "\(count) layers"
    case .wrongShape(_, let shape, let wanted, _):
      code = .wrongShape
      (found, expected) = (shape.description, wanted.description)
    case .headThoughTied: code = .headThoughTied
    case .leftover: code = .leftoverTensor
    }
    return LintFinding(code, problem.message, tensor: problem.tensor, found: found, expected: expected)
  }

  /// What the strict readers noted beyond that.
  static func addNotes(_ subject: LintSubject, _ findings: inout [LintFinding]) {
    if let meta = subject.opened as? MetaDirectory {
      for warning in meta.warnings where !warning.contains("holds RoPE frequencies") {
        findings.append(LintFinding(.parametersOdd, warning, file: LayoutRecognition.parametersName))
      }
    }
    for note in (subject.opened as? HuggingFaceDirectory)?.packed?.notes ?? [] {
      findings.append(LintFinding(.zeroPointConvention, note))
    }
  }

  /// Each tensor as the strict reader understands it: what it refuses is told tensor by tensor.
  static func logicalTensors(_ subject: LintSubject, _ findings: inout [LintFinding]) -> [LogicalTensor] {
    guard let opened = subject.opened else { return [] }
    let explained = LintQuantization.explainedTensors(findings)
    let incomplete = Set(
      findings.filter { [.missingScale, .wrongShape, .scaleRenamed].contains($0.code) }.compactMap(\.tensor)
        .map { LintQuantization.module($0) })
    var tensors: [LogicalTensor] = []
    for (role, name) in opened.census.found {
      let module = LintQuantization.module(name)
      if explained.contains(name) || explained.contains(module) || incomplete.contains(module) { continue }
      do {
        tensors.append(try opened.tensor(role, named: name))
      } catch {
        let block = subject.stored(name)?.tensor.elementType.block
        let isUnread = block.map { !BlockFormat($0).canDequantize } ?? false
        findings.append(LintFinding(isUnread ? .unreadType : .contradiction, any: error, file: subject.path))
      }
    }
    return tensors
  }

  /// `torch_dtype` against the types of the weights that are not quantized.
  static func checkElementType(_ subject: LintSubject, _ findings: inout [LintFinding]) {
    guard subject.kind == .huggingFace, let claimed = subject.configuration?.claimedElementType else { return }
    var bytes: [ElementType: Int] = [:]
    for (_, info) in subject.tensors where info.shape.rank > 1 && !LintQuantization.isScale(info.name) {
      if [.f32, .f16, .bf16].contains(info.elementType) { bytes[info.elementType, default: 0] += info.byteCount }
    }
    guard let most = bytes.max(by: { ($0.value, $0.key.rawValue) < ($1.value, $1.key.rawValue) })?.key, most != claimed
    else { return }
    findings.append(
      LintFinding(
        .elementType, "config.json says that weights are \(claimed), most of them are \(most)",
        file: LayoutRecognition.configurationName, found: most.rawValue, expected: claimed.rawValue))
  }
}
