import ByteIO
import Foundation
import Tokenizers

/// One input of libFuzzer: a whole tokenizer file of any form. Whatever it is, reading ends with a tokenizer or a
/// `ParseFailure`; what can be read encodes text, and a SentencePiece model comes back from the keys that are made of it.
///
///     LLAMA_FUZZ=1 swift build -c release --sanitize=fuzzer --scratch-path .build-fuzz --product TokenizerFuzz
///     .build-fuzz/release/TokenizerFuzz -max_len=20000 -max_total_time=600 SEEDS
///
/// Seeds are the models and files in `Tests/Fixtures/sentencepiece.json`.
@_cdecl("LLVMFuzzerTestOneInput")
public func readTokenizer(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = [UInt8](UnsafeBufferPointer(start: start, count: count))
  let tokenizer: any Tokenizer
  do { tokenizer = try TokenizerFile.tokenizer(input) } catch { return 0 }
  let texts = ["", " a  b\u{2581}\n<s>\u{65E5}\0", String(repeating: "a ", count: 120)].map { Array($0.utf8) }
  let ids = texts.map { tokenizer.encode($0) }
  for list in ids {
    do { _ = try tokenizer.decode(list) } catch { fatalError("its own ids are not decoded: \(error)") }
  }
  guard tokenizer is SentencePieceTokenizer, let keys = try? keys(input) else { return 0 }
  do {
    let forms = [try keys.tokenizer(), try SentencePieceTokenizer(sentencePiece: try keys.sentencePieceModel())]
    for form in forms {
      precondition(form.canonicalForm == tokenizer.canonicalForm, "the forms mean the same")
      // Metaspace puts no space in front of a space, which the other forms cannot say.
      precondition(form.encode(texts[2]) == ids[2], "the forms give the same ids")
    }
  } catch {
    fatalError("what was read cannot be read again: \(error)")
  }
  return 0
}

private func keys(_ input: [UInt8]) throws -> TokenizerKeys {
  try TokenizerFile(recognising: input) == .sentencePiece
    ? TokenizerKeys(sentencePiece: SentencePieceFiles(model: input)) : TokenizerKeys(tokenizerJSON: input)
}
